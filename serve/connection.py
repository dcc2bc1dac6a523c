"""One caller's connection: uvicorn's, with an end to every way of keeping it open for nothing.

    connected ── head ────── body ────── reply ───── idle ── head …
                 head_s      body_s      send_s      keep_alive_s
                         (serve.door)

Knows nothing of what is asked or answered.
"""

import asyncio
import json
import logging
import math
import socket
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from serve.errors import GatewayError, HeadTooLarge, Overloaded
from serve.options.door import LimitSettings
from serve.upgrades import PlainParser

_log = logging.getLogger(__name__)
_SAID_AGAIN_S: Final = 60.0


class Room:
    """The places for connections that a process has; whoever idles gives way to a newcomer."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._idle: dict[HttpToolsProtocol, None] = {}
        """Between two requests; the longest first."""
        self._said_at = -math.inf

    def admits(self, newcomer: HttpToolsProtocol) -> bool:
        """Whether there is a place for it, or one was made."""
        if len(newcomer.connections) <= self._places:
            return True
        if not self._idle:
            self._say_full(newcomer.loop.time())
            return False
        longest = next(iter(self._idle))
        self.is_busy(longest)
        longest.transport.close()
        return True

    def is_idle(self, connection: HttpToolsProtocol) -> None:
        """From now on."""
        self._idle[connection] = None

    def is_busy(self, connection: HttpToolsProtocol) -> None:
        """Or gone."""
        self._idle.pop(connection, None)

    def _say_full(self, now: float) -> None:
        if now - self._said_at > _SAID_AGAIN_S:
            self._said_at = now
            _log.warning("connections_full", extra={"fields": {"places": self._places}})


class Connection(HttpToolsProtocol):
    """Made by uvicorn for everybody who connects."""

    def __init__(self, limits: LimitSettings, room: Room, **given: Any) -> None:
        """`given`: by uvicorn."""
        super().__init__(**given)
        self.parser = PlainParser(self)  # type: ignore[assignment]
        self._limits = limits
        self._room = room
        self._head_due: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        """Of what is under way and no body: a head, but also a chunked body's trailers."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody connected, and over TLS has shaken hands."""
        super().connection_made(transport)
        # Closing waits until the caller has taken what was written. Only the kernel sees whether he does,
        # in every state: it ends the connection of one who has taken nothing for so long.
        patience_ms = math.ceil(1000 * self._limits.send_s)
        connected: socket.socket = transport.get_extra_info("socket")
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, patience_ms)
        if self._room.admits(self):
            self._await_head()
        else:
            transport.write(_FULL)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever ended it."""
        self._room.is_busy(self)
        self._cease_awaiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """What comes without being, or ending, a request's head does not keep a connection open."""
        self._room.is_busy(self)
        while data and not self.transport.is_closing():
            data = self._take(data)
        if not self._is_answering and self._head_due is None and not self.transport.is_closing():
            self._await_head()

    def on_headers_complete(self) -> None:
        """A request is there; its body has a deadline of its own."""
        self._head_bytes = 0
        self._cease_awaiting()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Its size is somebody else's care (`serve.door.body`)."""
        self._head_bytes = 0
        super().on_body(body)

    def on_response_complete(self) -> None:
        """And another request of this connection begins, or none is there."""
        super().on_response_complete()
        if self.timeout_keep_alive_task is not None:
            self._room.is_idle(self)

    def _should_upgrade(self) -> bool:
        """Whether to leave a request alone that asks for another protocol: the parser begins it anew."""
        return True

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _take(self, data: bytes) -> bytes:
        """Read as much as a head may still have; what is left. The parser keeps all of a head that has not
        ended, and tells nothing of it."""
        room = self._limits.head_bytes - self._head_bytes
        self._head_bytes += len(data[:room])
        super().data_received(data[:room])
        if self._head_bytes == self._limits.head_bytes and not self.transport.is_closing():
            # Whoever is still being answered would take our words for a part of that answer.
            if not self._is_answering:
                self.transport.write(_HEAD_TOO_LARGE)
            self.transport.close()
        return data[room:]

    def _await_head(self) -> None:
        self._head_due = self.loop.call_later(self._limits.head_s, self.transport.close)

    def _cease_awaiting(self) -> None:
        if self._head_due is not None:
            self._head_due.cancel()
            self._head_due = None


def _refusal(error: GatewayError) -> bytes:
    """A whole answer, for whoever is not even listened to."""
    body = json.dumps(error.body()).encode()
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "connection": "close",
        **error.headers(),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return STATUS_LINE[error.status] + lines.encode() + b"\r\n" + body


_FULL: Final = _refusal(Overloaded("as many connections as allowed are open; try again"))
_HEAD_TOO_LARGE: Final = _refusal(HeadTooLarge("the headers are larger than this gateway reads; send fewer"))
