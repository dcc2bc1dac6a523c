"""One process at a time in a directory that it writes into."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from align.errors import RecipeError


@contextmanager
def alone_in(directory: Path, otherwise: str) -> Iterator[None]:
    """Hold the directory, which is made if it is not there.

    RecipeError where another process holds it: `otherwise` says who that is, and what to do.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RecipeError(f"{directory} is in use by {otherwise}") from None
        yield
