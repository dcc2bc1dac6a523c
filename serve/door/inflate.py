"""Compressed bodies, let out in pieces that are bounded before they exist."""

import zlib

from serve.errors import BodyTooLarge, UnsupportedBody

CODINGS = ("gzip", "x-gzip", "deflate")
PIECE_BYTES = 256 * 1024
"""Most that one step lets out, so that a step takes a millisecond or so of the loop."""
_FREE_BYTES = 1024 * 1024
"""Up to here the ratio does not matter: text may well be as even as that."""
_SNIFFED_BYTES = 2
_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS


class Inflater:
    """One body. `feed` it what came in, then `take` until nothing is left, and `end` it."""

    def __init__(self, coding: str, most_ratio: int) -> None:
        """`most_ratio`: bytes out per byte in; more of it is a bomb."""
        self._coding = coding
        self._most_ratio = most_ratio
        self._inflate = zlib.decompressobj(_GZIP) if coding.endswith("gzip") else None
        self._waiting = b""
        self._may_hold_more = False
        self._bytes_in = 0
        self._bytes_out = 0

    def feed(self, data: bytes) -> None:
        """More of the body as it was sent."""
        self._bytes_in += len(data)
        self._waiting += data

    def take(self) -> bytes:
        """The next piece; empty when more must be fed. Raises BodyTooLarge and UnsupportedBody."""
        if not self._waiting and not self._may_hold_more:
            return b""
        if self._inflate is None:
            if len(self._waiting) < _SNIFFED_BYTES:
                return b""
            self._inflate = zlib.decompressobj(_deflate_window(self._waiting))
        inflate = self._inflate
        try:
            piece = inflate.decompress(self._waiting, PIECE_BYTES)
        except zlib.error as error:
            raise self._broken() from error
        if inflate.unused_data:
            raise self._broken()
        self._waiting = inflate.unconsumed_tail
        # Cut off at its full length, and the rest may be inside with no input left to push it out.
        self._may_hold_more = len(piece) == PIECE_BYTES
        self._bytes_out += len(piece)
        inflated = self._bytes_in - len(self._waiting)
        if self._bytes_out > max(_FREE_BYTES, inflated * self._most_ratio):
            raise BodyTooLarge(f"the body inflates to more than {self._most_ratio} times its size")
        return piece

    def end(self) -> None:
        """Nothing more comes. Raises UnsupportedBody if that is too early."""
        if self._inflate is None or not self._inflate.eof:
            raise self._broken()

    def _broken(self) -> UnsupportedBody:
        return UnsupportedBody(f"the body is not the {self._coding} that its content-encoding says it is")


def _deflate_window(begin: bytes) -> int:
    """`deflate` is zlib's format (RFC 9110, 8.4.1.2), and some send the bare stream all the same."""
    has_header = begin[0] & 0x0F == zlib.DEFLATED and int.from_bytes(begin[:_SNIFFED_BYTES], "big") % 31 == 0
    return _ZLIB if has_header else _RAW
