"""What ends a run, and what its user can do about it."""


class RecipeError(Exception):
    """Something the user can fix; shown as one line, exit status 2, before any work."""


class StageAborted(Exception):
    """A stage that cannot give what the recipe asks for; nothing that was paid for is discarded."""
