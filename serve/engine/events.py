"""Server-sent events out of bytes that may be cut anywhere, in the middle of a character too.

Reads what engines send: `data:` lines, comments, and fields that mean nothing here. Memory is bounded.
"""

from collections.abc import Iterator

MAX_EVENT_BYTES = 8 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"


class EventTooLong(Exception):
    """An event grew past MAX_EVENT_BYTES without ending."""


class EventReader:
    """Incremental: `feed` bytes, take the data of every event they complete."""

    __slots__ = ("_began", "_data", "_line", "_size")

    def __init__(self) -> None:
        # Pieces, not one buffer: appending to bytes would make a long line cost its length squared.
        self._line: list[bytes] = []
        self._data: list[bytes] = []
        self._size = 0
        self._began = False

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The data of each event that ends in this piece."""
        *ended, rest = piece.split(b"\n")
        for line in ended:
            if self._line:
                line = b"".join((*self._line, line))
                self._line.clear()
            if whole := line.removesuffix(b"\r"):
                self._take(whole)
            elif self._data:
                yield self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
                self._data.clear()
                self._size = 0
        if rest:
            self._line.append(rest)
            self._grow(len(rest))

    def _take(self, line: bytes) -> None:
        if not self._began:
            self._began = True
            line = line.removeprefix(_BOM)
        field, _, value = line.partition(b":")
        if field == b"data":
            value = value.removeprefix(b" ")
            self._data.append(value)
            self._grow(len(value))

    def _grow(self, by: int) -> None:
        self._size += by
        if self._size > MAX_EVENT_BYTES:
            raise EventTooLong
