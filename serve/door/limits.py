"""Bounds how many requests a key may begin a minute."""

import time
from collections.abc import Callable

from prometheus_client import Counter
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.door.caller import caller_of
from serve.door.tallies import Spent, Tallies
from serve.errors import RateLimited


class RateCap:
    """Pure ASGI: raises RateLimited before a byte of the body is read. Behind RequireKey."""

    def __init__(
        self,
        app: ASGIApp,
        tallies: Tallies,
        rejected: Counter,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._tallies = tallies
        self._rejected = rejected
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self._charge(scope)
        await self._app(scope, receive, send)

    def _charge(self, scope: Scope) -> None:
        caller = caller_of(scope)
        limit = caller.allowance.requests_per_minute
        if limit is None:
            return
        wait_s = self._tallies.spend(caller.key_id, Spent.REQUESTS, 1, limit, self._clock())
        if wait_s:
            self._rejected.labels("requests").inc()
            raise RateLimited(f"this key may begin {limit} requests a minute; wait", wait_s=wait_s)
