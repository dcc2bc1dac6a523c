"""A guard's server with a script: real on the wire, without any model, for every family's format.

Replies are queued and handed out in order; what it was shown, when, and how each request ended, is in
`history`. Without a script it answers with `usual`.
"""

import asyncio
import json
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web

Json = dict[str, Any]


def completion(text: str, finish: str = "stop") -> Json:
    """A chat completion that says this and nothing else."""
    message = {"role": "assistant", "content": text}
    return {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
    }


def likely(**logprobs: float) -> Json:
    """A chat completion of one token, by the likeliest tokens' logarithms."""
    top: list[Json] = [{"token": token, "logprob": logprob} for token, logprob in logprobs.items()]
    likeliest = max(logprobs, key=lambda token: logprobs[token])
    first = {"token": likeliest, "logprob": logprobs[likeliest], "top_logprobs": top}
    reply = completion(likeliest, "length")
    reply["choices"][0]["logprobs"] = {"content": [first]}
    return reply


def _lowered(request: web.Request) -> dict[str, str]:
    return {name.lower(): value for name, value in request.headers.items()}


@dataclass(frozen=True)
class Told:
    """One reply and how it is told."""

    body: Json | bytes
    status: int = 200
    delay_s: float = 0
    dies: bool = False
    """The connection breaks instead."""
    stalls: bool = False
    """Nothing comes until the caller leaves."""


@dataclass
class Shown:
    """One request that came in."""

    path: str
    body: Json
    headers: dict[str, str]
    at: float
    """By the monotonic clock."""
    left: bool = False
    """The caller did not wait for the end."""


class ScriptedGuard:
    """Answers on a real port of the loopback interface, from a thread of its own."""

    def __init__(self, usual: Json | bytes | Told = b"{}") -> None:
        self.usual = usual if isinstance(usual, Told) else Told(usual)
        self.replies: deque[Told] = deque()
        self.history: list[Shown] = []
        self.url = ""

    def enqueue(self, *replies: Json | Told) -> None:
        """What to answer next."""
        self.replies.extend(reply if isinstance(reply, Told) else Told(reply) for reply in replies)

    @property
    def seen(self) -> Sequence[Json]:
        """The bodies that came in."""
        return [shown.body for shown in self.history]

    @contextmanager
    def running(self) -> Iterator["ScriptedGuard"]:
        """Listen until the context is left."""
        loop = asyncio.new_event_loop()
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/{path:.*}", self._answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)

        async def start() -> str:
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            host, port = runner.addresses[0][:2]
            return f"http://{host}:{port}"

        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        self.url = asyncio.run_coroutine_threadsafe(start(), loop).result(60)
        try:
            yield self
        finally:
            asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(60)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(60)
            loop.close()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        told = self.replies.popleft() if self.replies else self.usual
        shown = Shown(request.path, await request.json(), _lowered(request), time.monotonic())
        self.history.append(shown)
        try:
            await asyncio.sleep(3600 if told.stalls else told.delay_s)
        except asyncio.CancelledError:
            shown.left = True
            raise
        if told.dies and request.transport:
            request.transport.abort()
        body = told.body if isinstance(told.body, bytes) else json.dumps(told.body).encode()
        return web.Response(body=body, status=told.status, content_type="application/json")
