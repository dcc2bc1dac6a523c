"""What a run's stores already answer, for whoever only wants to know: nothing is written, made or locked.

Knows nothing of requests, nor of the tables that they lie in.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from align.errors import RecipeError
from align.teacher.store import kept_keys, stores_of
from align.teacher.store_file import LOCKED_FOR_S, VERSION, named_faults


def kept_requests(
    directory: Path, *, stage: str, role: str, model: str, since: str, rejections: bool = True
) -> int:
    """Requests of a stage, role and model that were answered since a time, so that none asks them again.

    With `rejections` also those that a server said it never will answer. `since` is in ISO 8601, UTC, to
    the second. RecipeError where a file is no store of this version.
    """
    kept: set[str] = set()
    for path in stores_of(directory):
        with _looked_at(path) as file:
            if file:
                kept |= kept_keys(
                    file, stage=stage, role=role, model=model, since=since, rejections=rejections
                )
    return len(kept)


@contextmanager
def _looked_at(path: Path) -> Iterator[sqlite3.Connection | None]:
    """None where a kill left the file without tables."""
    with named_faults(path), closing(_connected(path)) as file:
        if not file.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            yield None
            return
        if (version := file.execute("PRAGMA user_version").fetchone()[0]) != VERSION:
            raise RecipeError(f"{path} is of another version of align ({version}, not {VERSION})")
        yield file


def _connected(path: Path) -> sqlite3.Connection:
    """A look at the file. Where no log lies beside it, nobody writes it, and SQLite need not make one."""
    log = path.with_name(f"{path.name}-wal")
    mode = "mode=ro" if log.exists() else "mode=ro&immutable=1"
    return sqlite3.connect(f"{path.resolve().as_uri()}?{mode}", timeout=LOCKED_FOR_S, uri=True)
