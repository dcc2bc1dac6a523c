"""Requests that ask for another protocol (`Upgrade: h2c`, `websocket`), read as if they had not asked.

HTTP lets a server ignore the wish, and callers that prefer HTTP/2 send it with every request to an http: URL
(Java's client does). The parser stops behind the head of such a request: its body would be lost, or taken for
the next request. Knows nothing of connections.
"""

from collections.abc import Iterator
from typing import Final, Protocol

import httptools

_WISH: Final = frozenset({b"upgrade", b"http2-settings"})
"""Headers that carry it, and how the Connection header names them."""


class Head(Protocol):
    """Who is told of a request's head, and keeps it."""

    url: bytes
    headers: list[tuple[bytes, bytes]]
    """Names in lower case."""


class PlainParser:
    """What uvicorn asks of httptools' parser. Begins such a request anew, without the wish."""

    def __init__(self, head: Head) -> None:
        """`head`: the parser's protocol as well."""
        self._head = head
        self._parser = self._anew()

    def feed_data(self, data: bytes) -> None:
        """Raises HttpParserError for what is not HTTP, and for a tunnel: nothing goes on behind it."""
        while True:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as wish:
                (end,) = wish.args
                data = b"".join(self._without_wish()) + data[end:]
                # The old one takes nothing more where the connection was to be closed behind that request.
                self._parser = self._anew()
            else:
                return

    def should_upgrade(self) -> bool:
        """While a head is read that has the wish; it will come again."""
        return self._parser.should_upgrade()

    def should_keep_alive(self) -> bool:
        """As httptools says."""
        return self._parser.should_keep_alive()

    def get_method(self) -> bytes:
        """As httptools says."""
        return self._parser.get_method()

    def get_http_version(self) -> str:
        """As httptools says."""
        return self._parser.get_http_version()

    def _anew(self) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(self._head)
        parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        return parser

    def _without_wish(self) -> Iterator[bytes]:
        method = self.get_method()
        if method == b"CONNECT":
            raise httptools.HttpParserInvalidMethodError("a tunnel was asked for")
        yield b"%b %b HTTP/%b\r\n" % (method, self._head.url, self.get_http_version().encode())
        for name, value in self._head.headers:
            if name == b"connection":
                kept = [token for token in value.split(b",") if token.strip().lower() not in _WISH]
                yield b"connection: %b\r\n" % b",".join(kept)
            elif name not in _WISH:
                yield b"%b: %b\r\n" % (name, value)
        yield b"\r\n"
