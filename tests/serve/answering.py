"""The two endpoints that carry replies, on a real port, in front of engines with a script.

The script stands at the `Engines` protocol, inside the process, so that a test can say which chunks come with
which read, and what happens between them.
"""

import asyncio
import json
import socket
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from openai import OpenAI
from prometheus_client import CollectorRegistry
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from policies.catalog import load_catalog
from policies.formats import THINK
from serve.adapters.registry import Registry, Route, Version
from serve.api import chat as chat_endpoint
from serve.api import responses, tokenize
from serve.api.errors import ErrorAnswers
from serve.api.inputs import InputGuards
from serve.api.lane import Lane
from serve.api.parts import Parts
from serve.api.records import Records
from serve.door.admission import Place
from serve.door.body import BodyCap
from serve.door.caller import ANONYMOUS, Caller, note_caller
from serve.door.messages import admit_conversation
from serve.door.pictures import Pictures
from serve.engine.call import Batch, Call, Json, Readiness
from serve.errors import GatewayError
from serve.gate.guard import Guard
from serve.gate.panel import Attended, GuardPanel, Wants
from serve.gate.patterns import Patterns
from serve.gate.values import Conversation, Excerpt, Ruling, Stage
from serve.ledger.interaction import Interaction
from serve.observe.metrics import Metrics
from serve.observe.requests import RequestLog
from serve.options.door import LimitSettings
from serve.options.engine import EngineKind
from serve.options.gate import GateSettings, PatternGuard
from tests.serve.gateways import PATIENCE_S, eventually

FORBIDDEN = "FORBIDDEN-WORD"
ALIAS, BASE = "groundrule", "base"
USAGE: Json = {"prompt_tokens": 11, "completion_tokens": 20, "total_tokens": 31}
TRACE = """<think>
[visual] The picture shows a cat on a sofa.
[textual] The request asks what it shows.
Verdict: comply
</think>
"""
ANSWER = "A cat sits on a sofa."


@dataclass
class Said:
    """One reply: pieces of text by choice, and what else happens."""

    text: str = TRACE + ANSWER
    every: int = 7
    """Characters a chunk."""
    per_read: int = 1
    """Chunks a read."""
    finish: str | None = "stop"
    """None: the reply ends without."""
    usage: Json | None = field(default_factory=lambda: dict(USAGE))
    running_usage: bool = False
    """Every chunk tells the tokens so far, one a chunk."""
    texts: Sequence[str] | None = None
    """By choice, in place of `text`."""
    tool_calls: Sequence[Json] = ()
    delta_extras: Json = field(default_factory=dict)
    choice_extras: Json = field(default_factory=dict)
    refuses: GatewayError | None = None
    """Raised before the first chunk."""
    dies_after: int | None = None
    """So many reads, then `error`."""
    error: Exception | None = None
    stalls_after: int | None = None
    """So many reads, then nothing until the engine is left."""
    pause_s: float = 0
    """Between two reads."""

    def reads(self, call: Call) -> Iterator[Batch]:
        """What each network read brings."""
        chunks = [self._whole(call)] if call.whole else list(self._chunks(call))
        for start in range(0, len(chunks), self.per_read):
            yield chunks[start : start + self.per_read]

    def _choices(self, call: Call) -> int:
        return call.payload.get("n") or 1

    def _text(self, index: int) -> str:
        return self.texts[index] if self.texts else self.text

    def _chunks(self, call: Call) -> Iterator[Json]:
        count = self._choices(call)
        deltas = [self._deltas(index) for index in range(count)]
        for number in range(max(map(len, deltas))):
            for index in range(count):
                if number < len(deltas[index]):
                    last = number == len(deltas[index]) - 1
                    yield self._chunk(index, number, deltas[index][number], self.finish if last else None)
        if self.usage is not None:
            yield {"id": "engine-1", "choices": [], "usage": self.usage}

    def _deltas(self, index: int) -> list[Json]:
        text = self._text(index)
        pieces = [text[at : at + self.every] for at in range(0, len(text), self.every)] or [""]
        deltas = [{"content": piece, **self.delta_extras} for piece in pieces]
        return [*deltas, *({"tool_calls": [call]} for call in self.tool_calls)]

    def _chunk(self, index: int, number: int, delta: Json, finish: str | None) -> Json:
        choice = {"index": index, "delta": delta, "finish_reason": finish, **self.choice_extras}
        chunk: Json = {"id": "engine-1", "created": 1, "model": "engine", "choices": [choice]}
        if self.running_usage:
            chunk["usage"] = {"prompt_tokens": 11, "completion_tokens": number + 1}
        return chunk

    def _whole(self, call: Call) -> Json:
        choices = []
        for index in range(self._choices(call)):
            delta: Json = {"role": "assistant", "content": self._text(index), **self.delta_extras}
            if self.tool_calls:
                delta["tool_calls"] = list(self.tool_calls)
            choice = {"index": index, "delta": delta, "message": delta, "finish_reason": self.finish}
            choices.append({**choice, **self.choice_extras})
        return {"id": "engine-1", "choices": choices, "usage": self.usage}


@dataclass
class Heard:
    """One call, and how it went."""

    call: Call
    reads: int = 0
    is_left: bool = False
    was_cut_off: bool = False
    """Left before its end."""


class ScriptedEngines:
    """`Engines`, in this process."""

    def __init__(self) -> None:
        self.replies: deque[Said] = deque()
        self.history: list[Heard] = []
        self.tokenized: list[Json] = []

    @asynccontextmanager
    async def stream_chat(self, call: Call) -> AsyncIterator[AsyncIterator[Batch]]:
        said = self.replies.popleft() if self.replies else Said()
        heard = Heard(call)
        self.history.append(heard)
        if said.refuses:
            raise said.refuses
        heard.was_cut_off = True
        try:
            if said.stalls_after == 0:
                await asyncio.Event().wait()
            yield self._read(said, heard)
        finally:
            heard.is_left = True

    async def _read(self, said: Said, heard: Heard) -> AsyncIterator[Batch]:
        for batch in said.reads(heard.call):
            if heard.reads == said.stalls_after:
                await asyncio.Event().wait()
            if heard.reads == said.dies_after:
                assert said.error
                raise said.error
            heard.reads += 1
            yield batch
            await asyncio.sleep(said.pause_s)
        heard.was_cut_off = False

    async def tokenize(self, route: Route, body: Json, request_id: str) -> Json:
        self.tokenized.append(body)
        return {"count": 3, "max_model_len": 4096, "tokens": [1, 2, 3], "token_strs": ["a", "b", "c"]}

    def kind_of(self, route: Route) -> EngineKind:
        return EngineKind.VLLM

    def readiness(self) -> Readiness:
        return Readiness(True, "", MappingProxyType({}))


class ScriptedGuard:
    """A guard that has to be waited for: blocks what holds its word, after a while, or fails."""

    def __init__(self, *stages: Stage, word: str = FORBIDDEN, takes_s: float = 0.0) -> None:
        self.name = "scripted"
        self.stages = frozenset(stages)
        self.shown: list[Excerpt] = []
        self.error: Exception | None = None
        self.takes_s = takes_s
        self._word = word

    async def judge(self, excerpt: Excerpt, about: Conversation) -> Ruling:
        self.shown.append(excerpt)
        await asyncio.sleep(self.takes_s)
        if self.error:
            raise self.error
        return Ruling(blocks=self._word in excerpt.text, guard=self.name)


class KeptLedger:
    """`Ledger`, as a list."""

    def __init__(self) -> None:
        self.rows: list[Interaction] = []
        self.refusal: GatewayError | None = None

    def write(self, interaction: Interaction) -> None:
        self.rows.append(interaction)

    def check_room(self) -> None:
        if self.refusal:
            raise self.refusal


class OpenDoor:
    """`Turns` without a queue; `used` is what each request said it used."""

    def __init__(self) -> None:
        self.places: list[Place] = []

    @asynccontextmanager
    async def admitted(self, caller: Caller, tokens: int = 0) -> AsyncIterator[Place]:
        place = Place()
        self.places.append(place)
        yield place


@dataclass
class Answering:
    """The running endpoints and everything around them."""

    url: str
    engines: ScriptedEngines
    ledger: KeptLedger
    door: OpenDoor
    parts: Parts
    caller: Caller = ANONYMOUS

    def say(self, *replies: Said) -> None:
        self.engines.replies.extend(replies)

    @property
    def openai(self) -> OpenAI:
        return OpenAI(base_url=f"{self.url}/v1", api_key="unused", max_retries=0, timeout=PATIENCE_S)

    def post(self, body: Any, path: str = chat_endpoint.PATH) -> httpx.Response:
        return httpx.post(self.url + path, json=body, timeout=PATIENCE_S)

    def message(self, **fields: Any) -> Json:
        """The only choice's message of a plain chat answer."""
        answer = self.post(ask(**fields))
        assert answer.status_code == 200, answer.text
        message: Json = answer.json()["choices"][0]["message"]
        return message

    def chunks(self, body: Json) -> list[Any]:
        """The data of every event of a chat stream, `[DONE]` included."""
        return [data if data == "[DONE]" else json.loads(data) for _, data in self.told(body)]

    def events(self, body: Json) -> list[Json]:
        """Every event of a responses stream; its name is its type."""
        told = self.told(body, responses.PATH)
        assert [name for name, _ in told] == [json.loads(data)["type"] for _, data in told]
        return [json.loads(data) for _, data in told]

    def told(self, body: Json, path: str = chat_endpoint.PATH) -> list[tuple[str, str]]:
        """Name and data of every event."""
        with httpx.stream("POST", self.url + path, json=body, timeout=PATIENCE_S) as response:
            assert response.status_code == 200, response.read()
            blocks = b"".join(response.iter_raw()).decode("ascii").split("\n\n")
        told = []
        for block in filter(None, blocks):
            fields = dict(line.split(": ", 1) for line in block.split("\n"))
            told.append((fields.get("event", ""), fields["data"]))
        return told

    @property
    def row(self) -> Interaction:
        """The only audit row, as soon as it is there."""
        eventually(lambda: self.ledger.rows)
        (row,) = self.ledger.rows
        return row

    def forget(self) -> None:
        self.engines.replies.clear()
        self.engines.history.clear()
        self.ledger.rows.clear()
        self.door.places.clear()


def ask(text: str = "What is this?", **fields: Any) -> Json:
    """A chat request."""
    return {"model": ALIAS, "messages": [{"role": "user", "content": text}], **fields}


def ask_responses(text: str = "What is this?", **fields: Any) -> Json:
    """A responses request."""
    return {"model": ALIAS, "input": text, **fields}


@contextmanager
def answering(
    *guards: Guard,
    deadline_s: float = PATIENCE_S,
    stages: tuple[Stage, ...] = (Stage.INPUT, Stage.REASONING, Stage.ANSWER),
    keeps_content: bool = False,
    parsing_pools: frozenset[str | None] = frozenset(),
    limits: LimitSettings | None = None,
    **gate: Any,
) -> Iterator[Answering]:
    """Both endpoints with a pattern guard on `stages` and the given ones, until the context is left."""
    metrics = Metrics(CollectorRegistry())
    catalog = load_catalog()
    engines, ledger, door = ScriptedEngines(), KeptLedger(), OpenDoor()
    looked_at = stages or (Stage.INPUT,)
    patterns = PatternGuard(kind="patterns", name="words", patterns=(FORBIDDEN,), stages=looked_at)
    attended = [Attended(one, deadline_s=deadline_s, on_error="block", metrics=metrics) for one in guards]
    panel = GuardPanel([Patterns(patterns)] if stages else [], attended, Wants(), metrics)
    limits = limits or LimitSettings()
    aligned = Version("pst@0123456789ab", THINK, catalog.citable, bundle=Path("pst"))
    versions = {ALIAS: aligned, BASE: Version(None, THINK, catalog.citable)}
    parts = Parts(
        registry=Registry(MappingProxyType(versions), ALIAS),
        catalog=catalog,
        turns=door,
        admit=partial(admit_conversation, pictures=Pictures(limits), most_images=2),
        engines=engines,
        panel=panel,
        inputs=InputGuards(panel),
        ledger=ledger,
        records=Records(metrics, ledger, catalog, keeps_content=keeps_content),
        errors=ErrorAnswers(metrics),
        gate=GateSettings(**gate),
        limits=limits,
        guards_wait=bool(guards),
        parsing_pools=parsing_pools,
    )
    running = Answering("", engines, ledger, door, parts)
    with _served(_app(running)) as url:
        running.url = url
        yield running


def _app(running: Answering) -> ASGIApp:
    endpoints: dict[tuple[str, str], ASGIApp] = {
        ("POST", chat_endpoint.PATH): chat_endpoint.answer_chat,
        ("POST", responses.PATH): responses.answer_responses,
    }
    framework = FastAPI()
    running.parts.errors.install(framework)
    framework.include_router(tokenize.router)
    app: ASGIApp = Lane(framework, endpoints)
    app = BodyCap(app, limit_bytes=10_000_000)
    app = ExceptionMiddleware(app, handlers={GatewayError: running.parts.errors.on_error})
    inner = RequestLog(app)

    async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})["parts"] = running.parts
        note_caller(scope, running.caller)
        await inner(scope, receive, send)

    return with_state


@contextmanager
def _served(app: ASGIApp) -> Iterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    eventually(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)
