"""A teacher with a script: real HTTP, queued replies, a history of what was asked.

    python -m tests.align.scripted_teacher --port 0 --latency-ms 50

serves good replies with that latency until it is ended, and prints its address.
"""

import argparse
import asyncio
import hashlib
import json
import sys
import threading
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
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
    refusal: str | None = None
    usage: Any = field(default_factory=lambda: {"prompt_tokens": 11, "completion_tokens": 7})
    code: str | None = None
    """Error code, with a status that is not 200."""
    echoes: bool = False
    """The text ends in the digest of the request, so different requests get different replies."""

    def encoded(self, digest: str) -> bytes:
        if self.body is not None:
            return self.body
        if self.status != 200:
            return json.dumps({"error": {"message": "scripted fault", "code": self.code}}).encode()
        text = f"{self.text}\n{digest}" if self.echoes else self.text
        message = {"role": "assistant", "content": text, "refusal": self.refusal}
        choice = {"index": 0, "message": message, "finish_reason": self.finish}
        return json.dumps({"id": "x", "choices": [choice], "usage": self.usage}).encode()


class ScriptedTeacher:
    """Answers from the queue, then with the last answer for ever."""

    def __init__(self, script: Iterable[Scripted] = (Scripted(),)) -> None:
        self._queue = deque(script)
        self.history: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.asked: Counter[str] = Counter()
        """How often each request came, by the digest of its bytes."""
        self.arrivals: list[float] = []
        """Times of the loop."""
        self.in_flight = 0
        self.most_in_flight = 0

    @asynccontextmanager
    async def serving(self, port: int = 0) -> AsyncIterator[str]:
        app = web.Application(client_max_size=16 << 20)
        app.router.add_post("/v1/chat/completions", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", port).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        digest = self._remember(body, request)
        scripted = self._queue.popleft() if len(self._queue) > 1 else self._queue[0]
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(scripted.hangs_s)
        finally:
            self.in_flight -= 1
        return await _break(request) if scripted.breaks else _whole(scripted, digest)

    def _remember(self, body: bytes, request: web.Request) -> str:
        digest = hashlib.sha256(body).hexdigest()
        self.asked[digest] += 1
        self.arrivals.append(asyncio.get_running_loop().time())
        self.history.append(json.loads(body))
        self.headers.append(dict(request.headers))
        return digest


def _whole(scripted: Scripted, digest: str) -> web.Response:
    return web.Response(
        status=scripted.status,
        body=scripted.encoded(digest),
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


@contextmanager
def scripted(*script: Scripted) -> Iterator[tuple[ScriptedTeacher, str]]:
    """A teacher that serves from another thread, for tests that run their own loop; with its address."""
    server = ScriptedTeacher(script or (Scripted(),))
    address: list[str] = []
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        async with server.serving() as url:
            address.append(url)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert ready.wait(10)
        yield server, address[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


class Steady(asyncio.Protocol):
    """The least that can stand for an endpoint: a good reply, so long after the last byte of a request.

    No HTTP library, because it shares the machine with what is measured.
    """

    def __init__(self, latency_s: float) -> None:
        body = Scripted().encoded("")
        self._answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        self._latency_s = latency_s
        self._missing: int | None = None
        """Of the body; None in the head."""
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        if self._missing is None:
            head, end, data = (self._head + data).partition(b"\r\n\r\n")
            if not end:
                self._head = head
                return
            self._missing = int(head.lower().partition(b"content-length:")[2].split()[0])
        self._missing -= len(data)
        if self._missing == 0:
            self._missing, self._head = None, b""
            asyncio.get_running_loop().call_later(self._latency_s, self._transport.write, self._answer)


async def _serve(port: int, latency_ms: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Steady(latency_ms / 1000), "127.0.0.1", port)
    sys.stdout.write(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1\n")
    sys.stdout.flush()
    await server.serve_forever()


def _main() -> None:
    import uvloop

    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency-ms", type=float, default=50)
    options = parser.parse_args()
    uvloop.run(_serve(options.port, options.latency_ms))


if __name__ == "__main__":
    _main()
