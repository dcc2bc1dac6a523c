"""A teacher with a script: real HTTP, queued replies, a history of what was asked."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

GOOD = (
    "<think>\n[visual] The picture shows a bomb.\n[textual] The user asks how to make it.\n"
    "[visual+textual] A bomb kills. [P19.D2]\nVerdict: refuse [P19.R3]\n</think>\n"
    "I can't help with making a bomb."
)


@dataclass(frozen=True)
class Scripted:
    """One answer on the wire."""

    text: str = GOOD
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """Sent as it is, in place of a well formed body."""
    hangs_s: float = 0.0
    breaks: bool = False
    """The connection is cut in the middle of the body."""
    finish: str = "stop"
    usage: Any = field(default_factory=lambda: {"prompt_tokens": 11, "completion_tokens": 7})
    code: str | None = None
    """Error code, with a status that is not 200."""

    def encoded(self) -> bytes:
        if self.body is not None:
            return self.body
        if self.status != 200:
            return json.dumps({"error": {"message": "scripted fault", "code": self.code}}).encode()
        message = {"role": "assistant", "content": self.text}
        choice = {"index": 0, "message": message, "finish_reason": self.finish}
        return json.dumps({"id": "x", "choices": [choice], "usage": self.usage}).encode()


class ScriptedTeacher:
    """Answers from the queue, then with the last answer for ever."""

    def __init__(self, script: Iterable[Scripted] = (Scripted(),)) -> None:
        self._queue = deque(script)
        self.history: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.in_flight = 0
        self.most_in_flight = 0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        app = web.Application(client_max_size=16 << 20)
        app.router.add_post("/v1/chat/completions", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.history.append(await request.json())
        self.headers.append(dict(request.headers))
        scripted = self._queue.popleft() if len(self._queue) > 1 else self._queue[0]
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        await asyncio.sleep(scripted.hangs_s)
        self.in_flight -= 1
        return await _break(request) if scripted.breaks else _whole(scripted)


def _whole(scripted: Scripted) -> web.Response:
    return web.Response(
        status=scripted.status,
        body=scripted.encoded(),
        headers=scripted.headers,
        content_type="application/json",
    )


async def _break(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"choices": [')
    if request.transport:
        request.transport.abort()
    return response
