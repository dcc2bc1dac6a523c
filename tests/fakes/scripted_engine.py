"""An engine with a script: shaped like vLLM's server, real on the wire, without any model.

Replies are queued and handed out in order; what was asked, and how each request ended, is in `history`.
In a test it runs inside the test's process (`ScriptedEngine`), for supervision as a process of its own:

    python tests/fakes/scripted_engine.py <port> [unhealthy]

There `POST /script` queues a reply, and `POST /healthy` ends being unhealthy.
"""

import asyncio
import json
import os
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

Json = dict[str, Any]

KEYED_PATHS = ("/v1", "/v2", "/inference", "/cohere")
_DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
PLAIN_REPLY = """<think>
[visual] The picture shows a cat on a sofa.
[textual] The request asks what it shows.
Verdict: comply
</think>
A cat sits on a sofa."""


@dataclass(frozen=True)
class Scripted:
    """One reply and how it is told."""

    text: str = PLAIN_REPLY
    pieces: Sequence[str] | None = None
    """How the text is cut into chunks; None: every 7 characters."""
    cuts: Sequence[int] = ()
    """Where the bytes of the stream are cut, wherever that is; empty: one write for each event."""
    status: int = 200
    error: Json | None = None
    """The body of a refusal, with `status`."""
    dies_after: int | None = None
    """The connection breaks after that many events."""
    fails_after: int | None = None
    """An error event takes the place of everything after that many events."""
    stalls_after: int | None = None
    """Nothing follows that many events until the caller leaves."""
    pause_s: float = 0
    """Between two events."""
    pauses: Mapping[int, float] = field(default_factory=dict)
    """Seconds before single events, by their number."""
    extra_bytes: bytes = b""
    """Sent before the first event, as they are."""
    headers_after_s: float = 0
    """How long the status line takes."""
    finish: str = "stop"
    ignores_stream: bool = False
    parsed: tuple[str, str] | None = None
    """Reasoning and content apart, as from an engine with a reasoning parser."""
    tool_calls: Sequence[Json] = ()
    """Deltas of tool calls, after the text."""
    delta_extras: Json = field(default_factory=dict)
    choice_extras: Json = field(default_factory=dict)

    def events(self, body: Json) -> Iterator[Json]:
        """The chunks of every choice, the usage chunk last."""
        head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
        for index in range(body.get("n") or 1):
            deltas = [{"role": "assistant", "content": ""}, *self._deltas()]
            for number, delta in enumerate(deltas, start=1):
                finish = self.finish if number == len(deltas) else None
                choice = {"index": index, "delta": delta, "finish_reason": finish, **self.choice_extras}
                yield {**head, "choices": [choice], **_usage_so_far(body, number)}
        if (body.get("stream_options") or {}).get("include_usage"):
            yield {**head, "choices": [], "usage": USAGE}

    def _deltas(self) -> Iterator[Json]:
        if self.parsed:
            yield {"reasoning": self.parsed[0]}
            yield {"content": self.parsed[1]}
            return
        pieces = self.pieces if self.pieces is not None else cut_every(self.text, 7)
        for piece in pieces or [""]:
            yield {"content": piece, **self.delta_extras}
        for call in self.tool_calls:
            yield {"tool_calls": [call]}


@dataclass
class Asked:
    """One request that came in."""

    body: Json
    headers: dict[str, str]
    whole: bool = False
    """Asked for one body."""
    sent: int = 0
    """Events told so far."""
    aborted: bool = False
    """The caller left before the end."""


def cut_every(text: str, length: int) -> list[str]:
    """Pieces of one length, the last one shorter."""
    return [text[start : start + length] for start in range(0, len(text), length)]


class ScriptedEngine:
    """Answers on a real port of the loopback interface, from a thread of its own."""

    def __init__(self) -> None:
        self.replies: deque[Scripted] = deque()
        self.history: list[Asked] = []
        self.adapters: dict[str, str] = {}
        self.is_healthy = True
        self.knows_adapters = True
        self.key: str | None = None
        """What a real engine has from VLLM_API_KEY."""
        self.counts = True
        """Whether it ever comes to an end with a request to tokenize."""
        self.url = ""

    def enqueue(self, *replies: Scripted) -> None:
        """What to answer next; without a script it is PLAIN_REPLY."""
        self.replies.extend(replies)

    def forget_adapters(self) -> None:
        """What a restart does to a real engine."""
        self.adapters.clear()

    @contextmanager
    def running(self) -> Iterator["ScriptedEngine"]:
        """Listen until the context is left."""
        loop = asyncio.new_event_loop()
        runner = web.AppRunner(self.application(), shutdown_timeout=0.1)

        async def start() -> str:
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
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
            thread.join(10)
            loop.close()

    def application(self) -> web.Application:
        """The routes the gateway uses, and no others: a call to anything else fails the test with a 404."""
        app = web.Application(client_max_size=64 * 1024 * 1024, middlewares=[self._ask_for_key])
        app.router.add_get("/health", self._health)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/load_lora_adapter", self._load)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/tokenize", self._tokenize)
        return app

    @web.middleware
    async def _ask_for_key(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Where vLLM asks for its key, which is not everywhere."""
        told = request.headers.get("authorization")
        if self.key and request.path.startswith(KEYED_PATHS) and told != f"Bearer {self.key}":
            return web.json_response({"error": "Unauthorized"}, status=401)
        return await handler(request)

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response(status=200 if self.is_healthy else 503)

    async def _models(self, _: web.Request) -> web.Response:
        cards = [{"id": "base", "object": "model", "parent": None}]
        cards += [{"id": name, "object": "model", "parent": "base"} for name in self.adapters]
        return web.json_response({"object": "list", "data": cards})

    async def _load(self, request: web.Request) -> web.Response:
        if not self.knows_adapters:
            return web.json_response({"detail": "Not Found"}, status=404)
        body = await request.json()
        self.adapters[body["lora_name"]] = body["lora_path"]
        return web.Response(text="Success")

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        headers = {name.lower(): value for name, value in request.headers.items()}
        asked = Asked(body, headers, whole=not body.get("stream"))
        self.history.append(asked)
        scripted = self.replies.popleft() if self.replies else Scripted()
        if body["model"] != "base" and body["model"] not in self.adapters:
            return web.json_response({"error": {"message": "no such model", "code": 404}}, status=404)
        if scripted.error is not None:
            return web.json_response({"error": scripted.error}, status=scripted.status)
        await asyncio.sleep(scripted.headers_after_s)
        if asked.whole or scripted.ignores_stream:
            return await self._tell_whole(request, scripted, asked)
        return await self._stream(request, scripted, asked)

    async def _tokenize(self, request: web.Request) -> web.Response:
        body = await request.json()
        asked = Asked(body, {}, whole=True)
        self.history.append(asked)
        if not self.counts:
            await _until_left(request)
            asked.aborted = True
        return web.json_response({"count": 3, "max_model_len": 4096, "tokens": [1, 2, 3]})

    async def _tell_whole(self, request: web.Request, scripted: Scripted, asked: Asked) -> web.StreamResponse:
        """A body tells nothing of its events: whatever happens after some of them happens before it."""
        try:
            await asyncio.sleep(scripted.pause_s * len(list(scripted.events(asked.body))))
            if scripted.stalls_after is not None:
                await _until_left(request)
                asked.aborted = True
        except asyncio.CancelledError:
            asked.aborted = True
            raise
        if scripted.dies_after is not None and request.transport:
            request.transport.abort()
        if scripted.fails_after is not None:
            return web.json_response({"error": {"message": "boom", "code": 500}}, status=500)
        return web.json_response(_whole(scripted, asked.body))

    async def _stream(self, request: web.Request, scripted: Scripted, asked: Asked) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        try:
            if scripted.cuts:
                await _write_cut(response, scripted, asked.body)
            else:
                await self._write_events(request, response, scripted, asked)
        except (asyncio.CancelledError, ConnectionError):
            asked.aborted = True
            raise
        return response

    async def _write_events(
        self, request: web.Request, response: web.StreamResponse, scripted: Scripted, asked: Asked
    ) -> None:
        if scripted.extra_bytes:
            await response.write(scripted.extra_bytes)
        for event in scripted.events(asked.body):
            await asyncio.sleep(scripted.pauses.get(asked.sent, 0))
            if await _ends_here(request, response, scripted, asked):
                return
            await response.write(_event(event))
            await asyncio.sleep(scripted.pause_s)
            asked.sent += 1
        if not await _ends_here(request, response, scripted, asked):
            await response.write(_DONE)


async def _ends_here(
    request: web.Request, response: web.StreamResponse, scripted: Scripted, asked: Asked
) -> bool:
    """Whether nothing follows what was told so far, except that it failed."""
    if asked.sent == scripted.stalls_after:
        await _until_left(request)
        asked.aborted = True
        return True
    if asked.sent == scripted.dies_after and request.transport:
        request.transport.abort()
        return True
    if asked.sent == scripted.fails_after:
        failure = {"message": "boom", "type": "InternalServerError", "code": 500}
        await response.write(_event({"error": failure}) + _DONE)
        return True
    return False


async def _until_left(request: web.Request) -> None:
    while request.transport is not None and not request.transport.is_closing():
        await asyncio.sleep(0.01)


async def _write_cut(response: web.StreamResponse, scripted: Scripted, body: Json) -> None:
    events = [json.dumps(event, ensure_ascii=False).encode() for event in scripted.events(body)]
    stream = b"".join(b"data: " + event + b"\r\n\r\n" for event in events) + b": bye\n\ndata: [DONE]\n\n"
    edges = [0, *sorted(cut % len(stream) for cut in scripted.cuts), len(stream)]
    for start, end in pairwise(edges):
        if end > start:
            await response.write(stream[start:end])
            await asyncio.sleep(0)


def _whole(scripted: Scripted, body: Json) -> Json:
    message: Json = {"role": "assistant", "content": scripted.text, **scripted.delta_extras}
    if scripted.parsed:
        message |= {"reasoning": scripted.parsed[0], "content": scripted.parsed[1]}
    elif scripted.pieces is not None:
        message["content"] = "".join(scripted.pieces)
    if scripted.tool_calls:
        message["tool_calls"] = list(scripted.tool_calls)
    choices = [
        {"index": index, "message": message, "finish_reason": scripted.finish, **scripted.choice_extras}
        for index in range(body.get("n") or 1)
    ]
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": body["model"]}
    return {**head, "choices": choices, "usage": USAGE}


def _usage_so_far(body: Json, number: int) -> Json:
    if not (body.get("stream_options") or {}).get("continuous_usage_stats"):
        return {}
    return {"usage": {"prompt_tokens": 11, "completion_tokens": number, "total_tokens": 11 + number}}


def _event(data: Json) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def main(arguments: Sequence[str]) -> None:
    """As a process of its own, told over the wire what to do."""
    port = int(arguments[0])
    engine = ScriptedEngine()
    engine.is_healthy = "unhealthy" not in arguments

    async def become_healthy(_: web.Request) -> web.Response:
        engine.is_healthy = True
        return web.Response()

    async def script(request: web.Request) -> web.Response:
        engine.enqueue(Scripted(**(await request.json())))
        return web.Response()

    app = engine.application()
    app.router.add_post("/healthy", become_healthy)
    app.router.add_post("/script", script)
    sys.stderr.write(f"scripted engine {os.getpid()} listens on {port}\n")
    sys.stderr.flush()
    web.run_app(app, host="127.0.0.1", port=port, print=None)


if __name__ == "__main__":
    main(sys.argv[1:])
