"""One chat request being answered: the engine's stream in, a plain or streamed answer out.

Before the first byte a failure is raised, and becomes a status; after it, it is the last event.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serve.adapters.registry import Route
from serve.api.errors import ErrorAnswers
from serve.api.reply import Reply
from serve.api.wire import DONE, AsciiResponse, event
from serve.door.presence import while_present
from serve.engine.client import EngineClient
from serve.errors import EngineFailed, GatewayError
from serve.observe.metrics import Metrics
from serve.observe.requests import RequestRecord

Json = dict[str, Any]

_STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    # Proxies in front (nginx) would collect the tokens otherwise.
    (b"x-accel-buffering", b"no"),
]


@dataclass(frozen=True, slots=True)
class Ask:
    """An admitted request, without its messages."""

    route: Route
    stream: bool
    wants_usage: bool


@dataclass(frozen=True, slots=True)
class Parts:
    """What every exchange works with."""

    client: EngineClient
    metrics: Metrics
    errors: ErrorAnswers


class Exchange(Response):
    """A response that is being generated while it is sent, and ends with its caller."""

    def __init__(self, ask: Ask, payload: Json, reply: Reply, parts: Parts, record: RequestRecord) -> None:
        self.background = None
        self._ask = ask
        self._payload = payload
        self._reply = reply
        self._parts = parts
        self._record = record
        self._began = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await while_present(receive, self._observed(scope, receive, send))

    async def _observed(self, scope: Scope, receive: Receive, send: Send) -> None:
        outcome = "aborted"
        try:
            await self._answer(scope, receive, send)
            outcome = "ok"
        except GatewayError as error:
            outcome = error.code
            if not self._began:
                raise
            self._parts.errors.count(error)
            await send({"type": "http.response.body", "body": event(error.body()), "more_body": False})
        finally:
            self._note(outcome)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = self._record.request_id
        async with (
            self._parts.client.stream_chat(self._hand_over(), request_id) as chunks,
            aclosing(self._read(chunks)) as out,
        ):
            if self._ask.stream:
                await self._send_stream(out, send)
                return
            async for _ in out:
                pass
        # The engine is done with; only now is the body built and sent.
        await AsciiResponse(self._reply.body())(scope, receive, send)

    def _hand_over(self) -> Json:
        """What the engine gets; its pictures are not to be held for as long as the reply takes."""
        payload, self._payload = self._payload, {}
        return payload

    async def _read(self, chunks: AsyncIterator[Json]) -> AsyncGenerator[bytes, None]:
        """Events for the caller, one batch for each chunk of the engine."""
        first = True
        async for chunk in chunks:
            events = b"".join(map(event, self._reply.take(chunk)))
            if first and self._reply.has_text:
                first = False
                self._parts.metrics.first_token.labels(self._ask.route.alias).observe(self._record.elapsed_s)
            if events:
                yield events
        if not self._reply.is_complete:
            raise EngineFailed("the engine broke off while answering; try again")

    async def _send_stream(self, events: AsyncIterator[bytes], send: Send) -> None:
        async for piece in events:
            if not self._began:
                self._began = True
                await send({"type": "http.response.start", "status": 200, "headers": _STREAM_HEADERS})
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        end = event(self._reply.usage_chunk()) if self._ask.wants_usage else b""
        await send({"type": "http.response.body", "body": end + DONE, "more_body": False})

    def _note(self, outcome: str) -> None:
        """Metrics and the log line, however the exchange ended."""
        alias, metrics, record = self._ask.route.alias, self._parts.metrics, self._record
        metrics.requests.labels(alias, outcome).inc()
        metrics.duration.labels(alias).observe(record.elapsed_s)
        usage = self._reply.usage or {}
        for kind in ("prompt", "completion"):
            metrics.tokens.labels(alias, kind).inc(usage.get(f"{kind}_tokens") or 0)
        finished = [reading for reading in self._reply.readings if reading.finish_reason]
        for reading in finished:
            trace = reading.trace
            metrics.observe_reply(alias, trace.verdict, "none", reading.finish_reason, trace.flags)
        record.fields |= {
            "alias": alias,
            "adapter": self._ask.route.version.adapter,
            "stream": self._ask.stream,
            "outcome": outcome,
            "verdicts": [reading.trace.verdict for reading in finished],
            "actions": ["none" for _ in finished],
            "finishes": [reading.finish_reason for reading in finished],
            "flags": sorted({flag for reading in finished for flag in reading.trace.flags}),
            "prompt_tokens": usage.get("prompt_tokens"),
            "completion_tokens": usage.get("completion_tokens"),
        }
