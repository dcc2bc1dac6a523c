"""Bounds a request's body before anything parses it: its size, announced or not, its time, and all together.

What is counted is what is held, so compressed bodies count as what they inflate to.
"""

import asyncio
from typing import cast

from prometheus_client import Counter
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.door.inflate import CODINGS, Inflater
from serve.door.tallies import GATEWAY, Held, Tallies
from serve.errors import BodyTimeout, BodyTooLarge, Overloaded, UnsupportedBody

_STATE = "body"


class BodyBudget:
    """How many bytes of bodies the gateway may hold, in all its workers."""

    def __init__(self, tallies: Tallies, most_bytes: int, rejected: Counter) -> None:
        self._tallies = tallies
        self._most_bytes = most_bytes
        self._rejected = rejected

    def take(self, amount: int) -> None:
        """Raises Overloaded where there is not so much left."""
        if not self._tallies.take(GATEWAY, Held.BODY_BYTES, amount, self._most_bytes):
            self._rejected.labels("bodies").inc()
            raise Overloaded("as many bytes as allowed are under way; try again")

    def give_back(self, amount: int) -> None:
        """So much is not held any more."""
        self._tallies.give_back(GATEWAY, Held.BODY_BYTES, amount)


class BodyCap:
    """Pure ASGI: raises when the body is, or turns out to be, more than is read here."""

    def __init__(
        self,
        app: ASGIApp,
        limit_bytes: int,
        most_s: float = 30,
        inflate_ratio: int = 100,
        budget: BodyBudget | None = None,
    ) -> None:
        """`most_s`: from the first wish for the body to its last byte."""
        self._app = app
        self.limit_bytes = limit_bytes
        self.most_s = most_s
        self.inflate_ratio = inflate_ratio
        self.budget = budget

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(self, _inflater(scope, self), receive)
        scope.setdefault("state", {})[_STATE] = body
        try:
            await self._app(scope, body.receive, send)
        finally:
            body.let_go()


def let_go_of_body(scope: Scope) -> None:
    """The engine has it: what it took of the budget is free again, however long the reply may take."""
    cast(_Body, scope["state"][_STATE]).let_go()


class _Body:
    """One request's body, as the application receives it."""

    def __init__(self, cap: BodyCap, inflater: Inflater | None, receive: Receive) -> None:
        self._cap = cap
        self._inflater = inflater
        self._receive = receive
        self._deadline: float | None = None
        self._bytes = 0
        self._held_bytes = 0
        self._is_sent = False
        self._is_over = False

    async def receive(self) -> Message:
        if self._is_over:
            return await self._receive()
        message = await self._next()
        if message["type"] == "http.request":
            self._hold(len(message.get("body", b"")))
            self._is_over = not message.get("more_body", False)
        return message

    def let_go(self) -> None:
        if self._held_bytes and self._cap.budget:
            self._cap.budget.give_back(self._held_bytes)
        self._held_bytes = 0

    async def _next(self) -> Message:
        """The next message, inflated."""
        inflater = self._inflater
        if inflater is None:
            return await self._in_time()
        while not (piece := inflater.take()):
            if self._is_sent:
                inflater.end()
                break
            message = await self._in_time()
            if message["type"] != "http.request":
                return message
            self._is_sent = not message.get("more_body", False)
            inflater.feed(message.get("body", b""))
        # Another piece may take its time as well: others first.
        await asyncio.sleep(0)
        return {"type": "http.request", "body": piece, "more_body": bool(piece)}

    async def _in_time(self) -> Message:
        loop = asyncio.get_running_loop()
        if self._deadline is None:
            self._deadline = loop.time() + self._cap.most_s
        try:
            async with asyncio.timeout_at(self._deadline):
                return await self._receive()
        except TimeoutError as error:
            raise BodyTimeout(f"the body took longer than {self._cap.most_s:g} seconds") from error

    def _hold(self, amount: int) -> None:
        self._bytes += amount
        if self._bytes > self._cap.limit_bytes:
            raise _too_large(self._cap.limit_bytes)
        if amount and self._cap.budget:
            self._cap.budget.take(amount)
            self._held_bytes += amount


def _inflater(scope: Scope, cap: BodyCap) -> Inflater | None:
    """By the headers alone: what can be refused without reading anything is refused here."""
    headers = Headers(scope=scope)
    announced = headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > cap.limit_bytes:
        raise _too_large(cap.limit_bytes)
    coding = ", ".join(headers.getlist("content-encoding")).strip().lower()
    if coding in ("", "identity"):
        return None
    if coding not in CODINGS:
        raise UnsupportedBody("send the body as gzip or deflate, or uncompressed")
    return Inflater(coding, cap.inflate_ratio)


def _too_large(limit_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body may hold {limit_bytes} bytes; send a smaller picture")
