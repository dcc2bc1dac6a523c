"""Audit rows on disk, between the request they are about and the database: the spool is the queue.

A row is one write to the end of a segment file, so it outlives the process that wrote it, however that
ends; a power cut may take the rows that the system had not put on the disk yet. A segment belongs to
whoever holds its lock, which the kernel takes from the dead: its writer while it grows, then the one that
ships it. Nothing is renamed, and nobody has to find out who is still alive.

It knows neither what a row says nor where it goes.
"""

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

_SUFFIX: Final = ".jsonl"
_BAD_SUFFIX: Final = ".bad"
_SEGMENT_BYTES: Final = 1024 * 1024


class Spool:
    """One process's way into a directory of segments; for one thread."""

    def __init__(self, directory: Path, worker: int) -> None:
        self._directory = directory
        self._worker = worker
        self._file: int | None = None
        self._size = 0

    def write(self, line: bytes) -> None:
        """Append one line, whole or not at all. Raises OSError."""
        if self._size >= _SEGMENT_BYTES:
            self.turn()
        if self._file is None:
            self._file, self._size = self._begin(), 0
        try:
            written = os.write(self._file, line)
            if written < len(line):
                os.ftruncate(self._file, self._size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            # Whatever stands at its end now, no row may come behind it.
            self.turn()
            raise
        self._size += written

    def turn(self) -> None:
        """Let go of the segment, so that it can be shipped; the next row begins another. Raises OSError."""
        if self._file is not None:
            file, self._file, self._size = self._file, None, 0
            os.close(file)

    def _begin(self) -> int:
        while True:
            path = self._directory / f"{time.time_ns():020d}-{self._worker}{_SUFFIX}"
            try:
                file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
            except FileExistsError:
                continue
            # Between the two lines a shipper may have found it, and taken it for an abandoned one.
            if _lock(file):
                return file
            os.close(file)


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits in a spool."""

    segments: int
    bytes: int


def prepare(directory: Path) -> None:
    """Make the directory and see that segments can be written and locked there; raises OSError."""
    for made in (directory.parent, directory):  # `mode` holds for the last of `parents` alone
        made.mkdir(parents=True, exist_ok=True, mode=0o700)
    probe(directory)


def probe(directory: Path) -> None:
    """Write a row's worth and take it away again; raises OSError where a row could not be written."""
    path = directory / f"probe-{os.getpid()}"
    file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        if os.write(file, bytes(4096)) < 4096:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        _lock(file)
    finally:
        os.close(file)
        path.unlink()


def segments(directory: Path) -> list[Path]:
    """Oldest first, those still being written among them."""
    return sorted(directory.glob(f"*{_SUFFIX}"))


def backlog(directory: Path) -> Backlog:
    """Of everything that no database has yet."""
    sizes: list[int] = []
    for path in segments(directory):
        with contextlib.suppress(FileNotFoundError):  # shipped just now
            sizes.append(path.stat().st_size)
    return Backlog(len(sizes), sum(sizes))


@contextlib.contextmanager
def claimed(segment: Path) -> Iterator[BinaryIO | None]:
    """The segment to read and remove, for as long as the context lasts; None while it is somebody else's."""
    try:
        file = segment.open("rb")
    except FileNotFoundError:
        yield None
        return
    with file:
        yield file if _lock(file.fileno()) else None


def keep_bad(segment: Path, lines: list[bytes]) -> None:
    """Lines that are no rows, beside the segments, for somebody to look at."""
    file = os.open(segment.with_suffix(_BAD_SUFFIX), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(file, "wb") as kept:
        kept.writelines(line.rstrip(b"\n") + b"\n" for line in lines)


def remove_bad(directory: Path, before: float) -> int:
    """Remove files of bad lines that are older than that moment, unix time; returns how many."""
    old = [path for path in directory.glob(f"*{_BAD_SUFFIX}") if path.stat().st_mtime < before]
    for path in old:
        path.unlink()
    return len(old)


def _lock(file: int) -> bool:
    """Take the lock of an open file; False if it is held, or the file was removed meanwhile."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(file).st_nlink > 0
