"""What ends a training, and what its user can do about it."""


class TrainingFailed(Exception):
    """Training that must not end in a bundle; the message says at which step and why."""
