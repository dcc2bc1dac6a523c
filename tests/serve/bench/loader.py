"""A closed loop of callers on raw sockets: each asks again as soon as it was answered."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import httptools
import uvloop

from tests.serve.bench.script import FIRST_TEXT, STEP_END

_PATIENCE_S = 120.0


@dataclass
class Load:
    """What a number of callers met; seconds since each request was sent."""

    answered: int = 0
    failed: int = 0
    """Answers that were not 200, and connections that broke."""
    elapsed_s: float = 0.0
    """Until the last answer."""
    first_text_s: list[float] = field(default_factory=list)
    first_step_s: list[float] = field(default_factory=list)
    """Until the caller had the whole first step."""


class _Caller(asyncio.Protocol):
    """One keep-alive connection."""

    def __init__(self, requests: Iterator[bytes], load: Load, may_ask: Callable[[], bool]) -> None:
        self._requests = requests
        self._load = load
        self._may_ask = may_ask
        self.left: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        """Set when the connection is closed: whether nothing more is to be asked."""
        self._is_over = False
        self._parser = httptools.HttpResponseParser(self)
        self._asked = 0.0
        self._is_asking = self._has_text = self._has_step = False
        self._tail = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._load.failed += self._is_asking
        if not self.left.done():
            self.left.set_result(self._is_over)

    def on_body(self, body: bytes) -> None:
        if self._has_step:
            return
        now = time.perf_counter() - self._asked
        seen = self._tail + body
        if not self._has_text and FIRST_TEXT.search(seen):
            self._has_text = True
            self._load.first_text_s.append(now)
        if STEP_END in seen:
            self._has_step = True
            self._load.first_step_s.append(now)
        self._tail = seen[-64:]

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() == 200:
            self._load.answered += 1
        else:
            self._load.failed += 1
        self._is_asking = False
        if not self._parser.should_keep_alive():
            self._transport.close()
            return
        self._ask()

    def _ask(self) -> None:
        self._is_over = not self._may_ask()
        if self._is_over:
            self._transport.close()
            return
        self._is_asking, self._has_text, self._has_step, self._tail = True, False, False, b""
        self._asked = time.perf_counter()
        self._transport.write(next(self._requests))


async def _drive(port: int, requests: Sequence[bytes], callers: int, may_ask: Callable[[], bool]) -> Load:
    load = Load()
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    turns = cycle(requests)

    async def one() -> None:
        # A target that closes after an answer gets a new connection, and the caller pays for it.
        is_over = False
        while not is_over and load.failed < callers:
            _, caller = await loop.create_connection(lambda: _Caller(turns, load, may_ask), "127.0.0.1", port)
            is_over = await caller.left

    async with asyncio.timeout(_PATIENCE_S + 600):
        await asyncio.gather(*(one() for _ in range(callers)))
    load.elapsed_s = time.perf_counter() - began
    return load


def drive_for(seconds: float, port: int, requests: Sequence[bytes], callers: int) -> Load:
    """Ask for so long; whatever is under way then is waited for, and counts."""
    until = time.perf_counter() + seconds
    return uvloop.run(_drive(port, requests, callers, lambda: time.perf_counter() < until))


def drive_times(times: int, port: int, requests: Sequence[bytes], callers: int) -> Load:
    """Ask so many times."""
    left = iter(range(times))
    return uvloop.run(_drive(port, requests, callers, lambda: next(left, None) is not None))
