"""Before anything is read: whatever an engine sends becomes text that every encoder can send on.

Bytes are UTF-8. Strings may hold halves of surrogate pairs, since JSON escapes may, and an engine may
cut between two. The first part of a character waits for the rest; what is none becomes U+FFFD.
"""

import codecs
import re

_SURROGATE = re.compile("[\ud800-\udfff]")


class Decoder:
    """Incremental: `feed` pieces cut anywhere, then `close`."""

    def __init__(self) -> None:
        self._bytes = codecs.getincrementaldecoder("utf-8")("replace")
        self._halves = codecs.getincrementaldecoder("utf-16-le")("replace")
        self._waits = False

    def feed(self, piece: str | bytes) -> str:
        """The characters that this piece completes."""
        if not piece:
            return ""
        if isinstance(piece, bytes):
            return _end(self._halves) + self._bytes.decode(piece)
        return _end(self._bytes) + self._joined(piece)

    def close(self) -> str:
        """What was still waiting."""
        return _end(self._bytes) + _end(self._halves)

    def _joined(self, piece: str) -> str:
        if not self._waits and not _SURROGATE.search(piece):
            return piece
        text = self._halves.decode(piece.encode("utf-16-le", "surrogatepass"))
        self._waits = bool(self._halves.getstate()[0])
        return text


def _end(decoder: codecs.IncrementalDecoder) -> str:
    return decoder.decode(b"", final=True)
