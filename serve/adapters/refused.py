"""The one way in which a bundle is turned away."""


class AdapterRefused(Exception):
    """A bundle that must not be served here; the message says why and what to do."""
