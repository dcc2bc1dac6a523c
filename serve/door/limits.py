"""Bounds how many requests are under way at the same time, from the first byte in to the last byte out."""

from prometheus_client import Gauge
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.errors import Overloaded

_GUARDED = "/v1/"


class InFlightCap:
    """Pure ASGI: one request past the limit is refused, to be tried again."""

    def __init__(self, app: ASGIApp, limit: int, gauge: Gauge) -> None:
        self._app = app
        self._limit = limit
        self._count = 0
        self._gauge = gauge

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(_GUARDED):
            await self._app(scope, receive, send)
            return
        if self._count >= self._limit:
            raise Overloaded("as many requests as allowed are under way; try again")
        self._count += 1
        self._gauge.inc()
        try:
            await self._app(scope, receive, send)
        finally:
            self._count -= 1
            self._gauge.dec()
