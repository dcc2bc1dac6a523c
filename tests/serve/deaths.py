"""Engines that die, and what the composed gateway told of it: its caller, its audit, its metrics.

Replies are asked for with guards that pass everything and know what they were shown.
"""

import asyncio
import json
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

import httpx
from aiohttp import web

from tests.fakes.scripted_engine import Asked as EngineAsked
from tests.fakes.scripted_engine import Scripted, ScriptedEngine
from tests.fakes.scripted_guard import ScriptedGuard
from tests.serve.audited import Json, measured, only_row
from tests.serve.gateways import ALIAS, PATIENCE_S, ask, eventually, running_gateway, settings_for

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
TRACE = ("[visual] It shows a cat.\n", "[textual] It asks what", " that is.\n", "Verdict: comply\n")
ANSWER = tuple(f"This is sentence {number:02} about a cat. " for number in range(10))
"""Longer than the window that is scanned at a time, which is 160 characters."""
REPLY = Scripted(pieces=("<think>\n" + TRACE[0], *TRACE[1:3], TRACE[3] + "</think>\n", *ANSWER))
FAILED = "engine_failed"
COUNTED = {
    **{
        f'groundrule_requests_total{{alias="{ALIAS}",outcome="{one}"}}': f"request {one}"
        for one in ("ok", FAILED)
    },
    f'groundrule_errors_total{{code="{FAILED}"}}': f"error {FAILED}",
    **{
        f'groundrule_replica_tries_total{{outcome="{one}",pool="main"}}': f"try {one}"
        for one in ("began", "not_begun", "refused", "aborted")
    },
}


class MortalEngine(ScriptedEngine):
    """It can also hang up before it has said anything."""

    def __init__(self) -> None:
        super().__init__()
        self._hang_ups = 0
        self._abort: Callable[[], object] | None = None
        self._life = ExitStack()

    def dies(self, *deaths: Scripted | None) -> None:
        """Of the next requests; None: before the headers."""
        for death in deaths:
            if death is None:
                self._hang_ups += 1
            else:
                self.enqueue(death)

    def die(self) -> None:
        """In the middle of the reply that is under way."""
        assert self._abort
        self._abort()

    def start(self) -> Self:
        self._life.enter_context(self.running())
        return self

    def stop(self) -> None:
        """Nobody listens any more."""
        self._life.close()

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        if not self._hang_ups:
            self.replies = self.replies or deque([REPLY])
            assert request.transport
            self._abort = partial(asyncio.get_running_loop().call_soon_threadsafe, request.transport.abort)
            return await super()._chat(request)
        self._hang_ups -= 1
        self.history.append(EngineAsked(await request.json(), {}))
        assert request.transport
        request.transport.abort()
        return web.Response()


OnText = Callable[[str], None]
"""Told of everything that has come so far, whenever more comes."""


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    retry_after: str | None
    text: str


@dataclass
class World:
    """A gateway, its replicas, and guards that pass everything and know what they were shown."""

    client: httpx.Client
    engines: list[MortalEngine]
    guards: dict[str, ScriptedGuard]
    state_dir: Path

    def ask(self, path: str, request_id: str, *, stream: bool, on_text: OnText = lambda _: None) -> Answer:
        """Always the same question, so that it goes to the same replica first."""
        question = "What is this?"
        body = ask(question) if path == CHAT else {"model": ALIAS, "input": question}
        headers = {"x-request-id": request_id}
        text = ""
        with self.client.stream("POST", path, json=body | {"stream": stream}, headers=headers) as response:
            for piece in response.iter_text():
                text += piece
                on_text(text)
        return Answer(response.status_code, response.headers.get("retry-after"), text)

    def shown(self, stage: str) -> str:
        """All that the guard of the stage has seen; it is shown what came before as well."""
        texts = [shown.body["texts"][0] for shown in self.guards[stage].history]
        return max(texts, key=len, default="")

    @property
    def first(self) -> MortalEngine:
        """The replica that is asked first; what happened before is forgotten."""
        self.forget()
        assert self.ask(CHAT, "which", stream=False).status == 200
        (first,) = [engine for engine in self.engines if engine.history]
        self.forget()
        return first

    def forget(self) -> None:
        for engine in self.engines:
            engine.history.clear()
        for guard in self.guards.values():
            guard.history.clear()


@contextmanager
def opened_worlds(bundle: Path, state_dir: Path) -> Iterator[Mapping[int, World]]:
    """By the number of their replicas."""
    with ExitStack() as stack:
        yield {number: opened(stack, bundle, state_dir / str(number), number) for number in (1, 2)}


def opened(stack: ExitStack, bundle: Path, state_dir: Path, replicas: int) -> World:
    engines = [MortalEngine().start() for _ in range(replicas)]
    for engine in engines:
        stack.callback(engine.stop)
    stages = ("reasoning", "answer")
    guards = {stage: stack.enter_context(ScriptedGuard({"action": "NONE"}).running()) for stage in stages}
    # They are looked at once: whether they are alive is found out by asking them.
    pool = {"name": "main", "urls": [one.url for one in engines], "poll_interval_s": 3600}
    settings = settings_for(
        engines[0],
        bundle,
        engine={"pools": [pool]},
        gate={},
        ledger={},
        state_dir=state_dir,
        guards=[
            {"kind": "endpoint", "name": stage, "format": "litellm_generic", "url": guard.url}
            | {"stages": [stage], "deadline_s": PATIENCE_S, "window_chars": 160}
            for stage, guard in guards.items()
        ],
    )
    gateway = stack.enter_context(running_gateway(settings, engines[0]))
    client = stack.enter_context(httpx.Client(base_url=gateway.url, timeout=PATIENCE_S))
    eventually(lambda: measured(client)['groundrule_replicas_ready{pool="main"}'] == replicas)
    return World(client, engines, guards, state_dir)


@dataclass(frozen=True)
class Told:
    """What a caller got."""

    reasoning: str = ""
    content: str = ""
    finishes: tuple[str, ...] = ()
    is_ended: bool = False
    """It says itself that it is over, and well."""
    code: str | None = None
    """Of the error, which is the last that is told."""


WHOLE = Told("".join(TRACE).rstrip(), "".join(ANSWER).rstrip(), ("stop",), is_ended=True)


def told_by(text: str) -> Told:
    """Plain or streamed, chat or responses; of a stream, as far as its events are whole."""
    events = events_of(text)
    errors = [event["error"]["code"] for event in events if event.get("error")]
    assert not errors or (len(errors) == 1 and events[-1].get("error")), "an error is the last that is told"
    pieces = [choice for event in events for choice in event.get("choices") or ()]
    deltas = [piece.get("delta") or piece.get("message") for piece in pieces]
    deltas += [DELTAS[event["type"]](event["delta"]) for event in events if event.get("type") in DELTAS]
    return Told(
        "".join(delta.get("reasoning") or "" for delta in deltas),
        "".join(delta.get("content") or "" for delta in deltas),
        tuple(piece["finish_reason"] for piece in pieces if piece["finish_reason"]),
        is_ended=any(ending in text for ending in ENDINGS),
        code=errors[0] if errors else None,
    )


ENDINGS = ("[DONE]", "event: response.completed", '"object":"chat.completion",')
DELTAS: Mapping[str, Callable[[str], Json]] = {
    "response.reasoning_text.delta": lambda text: {"reasoning": text},
    "response.output_text.delta": lambda text: {"content": text},
}


def events_of(text: str) -> list[Json]:
    """A plain body is one; responses tell of a failure once more, as the state of the response."""
    if text.startswith("{"):
        return [json.loads(text)]
    lines = [line for block in text.split("\n\n")[:-1] for line in block.split("\n")]
    data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    events = [json.loads(one) for one in data if one != "[DONE]"]
    return [event for event in events if event.get("type") != "response.failed"]


@dataclass
class Asked:
    """A request whose engine died, and what was written down of it."""

    answer: Answer
    told: Told
    row: Json
    counted: dict[str, float]
    """Requests by outcome, errors by code, tries by outcome: how many more there are."""


def asked(world: World, path: str, *, stream: bool, on_text: OnText = lambda _: None) -> Asked:
    """Nothing is delivered that the guards were not shown, and nothing stays."""
    before, request_id = measured(world.client), uuid.uuid4().hex
    answer = world.ask(path, request_id, stream=stream, on_text=on_text)
    told = told_by(answer.text)
    for stage, delivered in (("reasoning", told.reasoning), ("answer", told.content)):
        assert world.shown(stage).startswith(delivered), stage
    row = only_row(world.state_dir, request_id)
    eventually(lambda: measured(world.client)["groundrule_requests_in_flight"] == 0)
    after = measured(world.client)
    grown = {name: count - before.get(name, 0) for name, count in after.items()}
    counted = {series: grown[name] for name in grown if (series := COUNTED.get(name)) and grown[name]}
    return Asked(answer, told, row, counted)


def histories(world: World) -> list[int]:
    return [len(engine.history) for engine in world.engines]


def assert_refused(it: Asked) -> None:
    assert (it.answer.status, it.answer.retry_after) == (503, "5")
    assert it.told == Told(code=FAILED)
    assert (it.row["outcome"], it.row["status"]) == (FAILED, 503)
