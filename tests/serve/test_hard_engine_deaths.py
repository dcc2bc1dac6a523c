"""Claims about engines that die, at every phase: what is told is whole, or is told to be broken."""

import asyncio
import json
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
from aiohttp import web

from tests.fakes.scripted_engine import Asked as EngineAsked
from tests.fakes.scripted_engine import Scripted, ScriptedEngine
from tests.fakes.scripted_guard import ScriptedGuard
from tests.serve.audited import Json, measured, only_row
from tests.serve.conftest import settings_for
from tests.serve.gateways import ALIAS, PATIENCE_S, ask, eventually, running_gateway

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


UNBEGUN: Mapping[str, Scripted | None] = {
    "before the headers": None,
    "behind the headers": replace(REPLY, dies_after=0),
    "before the first chunk": replace(REPLY, dies_after=0, extra_bytes=b": I am thinking\n\n"),
}
"""Nothing of the reply is there; None: it hangs up."""
UNSHOWN, IN_REASONING, BEHIND_VERDICT, IN_ANSWER, BEHIND_FINISH = (
    "behind an empty chunk",
    "in the reasoning",
    "between verdict and answer",
    "in the answer",
    "between finish and end",
)
BEGUN = {UNSHOWN: 1, IN_REASONING: 3, BEHIND_VERDICT: 5, IN_ANSWER: 12, BEHIND_FINISH: 1 + 4 + len(ANSWER)}
"""After so many events."""
SHOWN = {
    IN_REASONING: TRACE[0],
    BEHIND_VERDICT: "Verdict: comply",
    IN_ANSWER: ANSWER[0],
    BEHIND_FINISH: ANSWER[-1].strip(),
}
"""What has reached a streaming caller by then."""


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


@pytest.fixture(scope="module")
def worlds(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[int, World]]:
    """By the number of their replicas."""
    with ExitStack() as stack:
        yield {number: opened(stack, bundle, tmp_path_factory.mktemp("deaths"), number) for number in (1, 2)}


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


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("death", UNBEGUN)
def test_another_replica_answers_what_had_not_begun(
    worlds: Mapping[int, World], death: str, stream: bool
) -> None:
    world = worlds[2]
    world.first.dies(UNBEGUN[death])
    it = asked(world, CHAT, stream=stream)
    assert it.told == WHOLE
    assert histories(world) == [1, 1]
    assert (it.row["outcome"], it.row["status"]) == ("ok", 200)
    assert it.counted == {"request ok": 1, "try not_begun": 1, "try began": 1}


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("death", UNBEGUN)
def test_where_there_is_no_other_replica_it_is_a_status(
    worlds: Mapping[int, World], death: str, stream: bool
) -> None:
    world = worlds[1]
    world.first.dies(UNBEGUN[death])
    it = asked(world, CHAT, stream=stream)
    assert_refused(it)
    assert histories(world) == [1], "the one that has just failed is not asked again"
    assert it.counted == {f"request {FAILED}": 1, f"error {FAILED}": 1, "try not_begun": 1}


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize(
    ("death", "path", "stream"),
    [*((death, CHAT, False) for death in BEGUN), (UNSHOWN, CHAT, True), (IN_ANSWER, RESPONSES, False)],
)
def test_what_has_begun_is_tried_nowhere_else_and_before_its_first_byte_it_is_a_status(
    worlds: Mapping[int, World], death: str, path: str, stream: bool, replicas: int
) -> None:
    """A plain reply has no byte before its last one, so it is never half a reply."""
    world = worlds[replicas]
    world.first.dies(replace(REPLY, dies_after=BEGUN[death]))
    it = asked(world, path, stream=stream)
    assert_refused(it)
    assert_tried_once(world, it)


def assert_refused(it: Asked) -> None:
    assert (it.answer.status, it.answer.retry_after) == (503, "5")
    assert it.told == Told(code=FAILED)
    assert (it.row["outcome"], it.row["status"]) == (FAILED, 503)


def assert_tried_once(world: World, it: Asked) -> None:
    assert sum(histories(world)) == 1
    assert it.counted == {f"request {FAILED}": 1, f"error {FAILED}": 1, "try began": 1}


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("path", [CHAT, RESPONSES], ids=["chat", "responses"])
@pytest.mark.parametrize("death", SHOWN)
def test_a_stream_that_has_begun_ends_with_the_failure_and_looks_finished_only_if_it_is(
    worlds: Mapping[int, World], death: str, path: str, replicas: int
) -> None:
    world = worlds[replicas]
    first = world.first
    first.dies(replace(REPLY, stalls_after=BEGUN[death]))
    is_dead = False

    def end(text: str) -> None:
        nonlocal is_dead
        told = told_by(text)
        # The finish is told when the guard has seen the end, which may be later than the text before it.
        awaits_finish = death == BEHIND_FINISH and path == CHAT and not told.finishes
        if not is_dead and SHOWN[death] in told.reasoning + told.content and not awaits_finish:
            is_dead = True
            first.die()

    it = asked(world, path, stream=True, on_text=end)
    assert it.answer.status == 200
    assert (it.told.code, it.told.is_ended) == (FAILED, False)
    assert WHOLE.reasoning.startswith(it.told.reasoning)
    assert WHOLE.content.startswith(it.told.content)
    is_finished = death == BEHIND_FINISH
    assert (it.told.content == WHOLE.content) is is_finished
    assert it.told.finishes == (("stop",) if is_finished and path == CHAT else ())
    assert (it.row["outcome"], it.row["status"]) == (FAILED, 200)
    (choice,) = json_of(it.row["choices"])
    assert choice["finish"] == ("stop" if is_finished else None)
    assert choice["scanned"].get("answer", {"released": 0})["released"] == len(it.told.content)
    assert_tried_once(world, it)


def json_of(value: Any) -> Any:
    """SQLite has it as text, the spool as it is."""
    return json.loads(value) if isinstance(value, str) else value


@pytest.mark.parametrize("replicas", [1, 2])
def test_an_engine_that_takes_no_connection_is_passed_over_or_a_status(
    bundle: Path, tmp_path: Path, replicas: int
) -> None:
    with ExitStack() as stack:
        world = opened(stack, bundle, tmp_path, replicas)
        world.first.stop()
        plain, streamed = (asked(world, CHAT, stream=stream) for stream in (False, True))
    if replicas == 2:
        assert plain.told == streamed.told == WHOLE
        assert histories(world) in ([0, 2], [2, 0])
        assert plain.counted == {"request ok": 1, "try not_begun": 1, "try began": 1}
        return
    for it in (plain, streamed):
        assert (it.answer.status, it.answer.retry_after) == (503, "5")
        assert it.told == Told(code="engine_unavailable")
        assert (it.row["outcome"], it.row["status"]) == ("engine_unavailable", 503)
