"""The SQLite file of replies and charges: its tables, how it is opened, and what may be wrong with it.

replies      what a model answered, by the request's key
rejections   what a server said it never will
charges      every attempt that cost something or may have, so their sum is what the run has spent
"""

import fcntl
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from align.errors import RecipeError, StageAborted

VERSION = 1
TABLES = ("replies", "rejections", "charges")
LOCKED_FOR_S = 60.0
ENDING_FOR_S = 10.0
"""A worker that was told to end may take so long."""

_SCHEMA = (
    """CREATE TABLE replies (
        key TEXT PRIMARY KEY, stage TEXT NOT NULL, role TEXT NOT NULL, model TEXT NOT NULL,
        text TEXT NOT NULL, finish_reason TEXT NOT NULL, refusal TEXT, prompt_tokens INTEGER NOT NULL,
        completion_tokens INTEGER NOT NULL, usage_known INTEGER NOT NULL, money REAL, at TEXT NOT NULL)""",
    """CREATE TABLE rejections (
        key TEXT PRIMARY KEY, stage TEXT NOT NULL, role TEXT NOT NULL, model TEXT NOT NULL,
        detail TEXT NOT NULL, at TEXT NOT NULL)""",
    """CREATE TABLE charges (
        id TEXT PRIMARY KEY, key TEXT NOT NULL, stage TEXT NOT NULL, role TEXT NOT NULL, model TEXT NOT NULL,
        prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, money REAL,
        certain INTEGER NOT NULL, at TEXT NOT NULL)""",
    f"PRAGMA user_version = {VERSION}",
)


class StoreFailed(StageAborted):
    """What was paid for can no longer be kept, so nothing more is paid for."""


def opened(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A file of this schema, made where there is none; RecipeError where it is something else."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with named_faults(path):
        file = connected(path, read_only=read_only)
        try:
            _prepare(file, path, read_only)
        except BaseException:
            file.close()
            raise
    return file


def connected(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection that any thread may use, one at a time; transactions begin where a statement says so."""
    mode = "rwc"
    if read_only:
        # Without a log beside it nobody writes the file, and SQLite needs no shared memory to read it:
        # there is none between machines.
        mode = "ro" if path.with_name(f"{path.name}-wal").exists() else "ro&immutable=1"
    address = f"{path.resolve().as_uri()}?mode={mode}"
    return sqlite3.connect(
        address, timeout=LOCKED_FOR_S, isolation_level=None, check_same_thread=False, uri=True
    )


def _prepare(file: sqlite3.Connection, path: Path, read_only: bool) -> None:
    version = file.execute("PRAGMA user_version").fetchone()[0]
    tables = file.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if version != VERSION and (version or tables):
        raise RecipeError(
            f"{path} is of another version of align ({version}, not {VERSION}): use that version, or move "
            "the file away, and what it holds is asked and paid for again"
        )
    if read_only:
        return
    file.execute("PRAGMA journal_mode = WAL")
    file.execute("PRAGMA synchronous = FULL")
    if not tables:
        with file:
            file.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA:
                file.execute(statement)


@contextmanager
def claimed(paths: Iterable[Path], *, wait_s: float = 0.0) -> Iterator[Path]:
    """The first of these files that no living process has claimed; RecipeError where there is none."""
    paths = list(paths)
    until = time.monotonic() + wait_s
    while not (locked := next(filter(None, map(_locked, paths)), None)):
        if time.monotonic() >= until:
            raise RecipeError(
                f"{paths[0]} is in use: a worker of an earlier run is still at work; wait for it or end it"
            )
        time.sleep(0.05)
    path, lock = locked
    with lock:
        yield path


def _locked(path: Path) -> tuple[Path, IO[str]] | None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not the file itself: SQLite's own locks on it would end when this handle is closed.
    lock = path.with_suffix(".lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return path, lock


def remove(path: Path) -> None:
    """A file that nobody has open, with what SQLite put beside it."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


@contextmanager
def named_faults(path: Path) -> Iterator[None]:
    """SQLite's errors, as what the user can do about them."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        match error.sqlite_errorname.split("_")[1]:
            case "NOTADB" | "CORRUPT":
                raise RecipeError(
                    f"{path} is damaged ({error}): put a copy of it in its place, or move it away, and what "
                    "it holds is asked and paid for again"
                ) from None
            case "FULL":
                said = "the disk is full"
            case _:
                said = f"the disk does not take it ({error})"
        raise StoreFailed(
            f"{path}: {said}; free space or make it writable, and run again: what was kept before is safe"
        ) from None
