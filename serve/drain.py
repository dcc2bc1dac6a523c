"""How a gateway stops: it says so first, finishes what it has begun, and ends the rest in its own words.

SIGTERM ── /readyz says no, requests are taken ── no new connections ── last events, 503 ── cut off
                    drain_grace_s                    drain_timeout_s       LAST_WORDS_S
"""

import asyncio
import logging
import math
import signal
import socket
from types import FrameType
from typing import Final

import uvicorn
from uvicorn.protocols.http.flow_control import CLOSE_HEADER

_log = logging.getLogger(__name__)
LAST_WORDS_S: Final = 2
"""From the deadline to the end of every connection."""


class Drain:
    """How far a process is on its way to its end; for the event loop's thread."""

    def __init__(self, grace_s: float, timeout_s: float) -> None:
        self.grace_s = grace_s
        self.timeout_s = timeout_s
        self.is_draining = False
        """From the first signal on; whoever sends requests here should look for another gateway."""
        self.deadline = asyncio.Event()
        """Replies under way end now: with a last event, or `Stopping` where nothing was sent yet."""
        self._is_closed = False

    @property
    def is_closed(self) -> bool:
        """No new connection is taken any more."""
        return self._is_closed

    def begin(self) -> None:
        """The gateway is to stop. A second time changes nothing."""
        if self.is_draining:
            return
        self.is_draining = True
        fields = {"grace_s": self.grace_s, "timeout_s": self.timeout_s}
        _log.info("stopping", extra={"fields": fields})
        asyncio.get_running_loop().call_later(self.grace_s, self.close)

    def close(self) -> None:
        """The grace is over: from here on the replies under way have `timeout_s`."""
        if self._is_closed:
            return
        self.is_draining = self._is_closed = True
        asyncio.get_running_loop().call_later(self.timeout_s, self.deadline.set)


class DrainingServer(uvicorn.Server):
    """A server whose first signal begins a drain, and that ends with exit code 0 for it.

    Ctrl-C a second time ends it at once."""

    def __init__(self, config: uvicorn.Config, drain: Drain) -> None:
        config.timeout_graceful_shutdown = math.ceil(drain.timeout_s) + LAST_WORDS_S
        super().__init__(config)
        self._drain = drain
        self._loop: asyncio.AbstractEventLoop | None = None

    async def main_loop(self) -> None:
        """Serve until it is to stop."""
        self._loop = asyncio.get_running_loop()
        await super().main_loop()

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether to take no more connections."""
        return await super().on_tick(counter) or self._drain.is_closed

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """However it came to this, replies under way have until the deadline."""
        self._drain.close()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal came: this is its handler."""
        if sig == signal.SIGINT and self._drain.is_draining:
            self.should_exit = self.force_exit = True
        elif self._loop is None:  # still starting: there is nothing to finish
            self.should_exit = True
        else:
            self._loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        """From here on every reply sends its caller to another connection, and so to another gateway."""
        if not self._drain.is_draining:
            self.config.encoded_headers.append(CLOSE_HEADER)
            self.server_state.default_headers = [*self.server_state.default_headers, CLOSE_HEADER]
        self._drain.begin()
