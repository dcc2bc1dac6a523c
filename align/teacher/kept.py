"""What a run's stores already answer, for whoever only wants to know: nothing is written, made or locked.

Knows nothing of requests. A reply is counted for the stage, role and model that it was asked for, since a
time that the reader names.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from align.errors import RecipeError
from align.teacher.store import STORE_FILE, WORKERS_FOLDER
from align.teacher.store_file import LOCKED_FOR_S, VERSION, named_faults

_KEPT = " UNION ".join(
    f"SELECT key FROM {table} WHERE stage = :stage AND role = :role AND model = :model AND at >= :since"
    for table in ("replies", "rejections")
)


def kept_requests(directory: Path, *, stage: str, role: str, model: str, since: str) -> int:
    """Requests that were answered, or that a server said it never will answer, so that none asks them again.

    `since` is a time in ISO 8601, UTC, to the second. RecipeError where a file is no store of this version.
    """
    asked = {"stage": stage, "role": role, "model": model, "since": since}
    return len({key for path in _stores(directory) for key in _keys(path, asked)})


def _stores(directory: Path) -> Iterator[Path]:
    """The run's own, and those of workers that were not taken in yet."""
    if (own := directory / STORE_FILE).is_file():
        yield own
    yield from sorted((directory / WORKERS_FOLDER).glob("worker-*.sqlite"))


def _keys(path: Path, asked: dict[str, str]) -> list[str]:
    with named_faults(path), closing(_connected(path)) as file:
        if not file.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            return []  # killed before it had tables
        if (version := file.execute("PRAGMA user_version").fetchone()[0]) != VERSION:
            raise RecipeError(f"{path} is of another version of align ({version}, not {VERSION})")
        return [key for (key,) in file.execute(_KEPT, asked).fetchall()]


def _connected(path: Path) -> sqlite3.Connection:
    """A look at the file. Where no log lies beside it, nobody writes it, and SQLite need not make one."""
    log = path.with_name(f"{path.name}-wal")
    mode = "mode=ro" if log.exists() else "mode=ro&immutable=1"
    return sqlite3.connect(f"{path.resolve().as_uri()}?{mode}", timeout=LOCKED_FOR_S, uri=True)
