"""All guards behind one question: in parallel, within their deadlines, and never an exception."""

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from pydantic import TypeAdapter

from policies.catalog import load_catalog
from serve.engine.breaker import FAILURES
from serve.gate.guard import GuardRefused
from serve.gate.hold import Hold
from serve.gate.panel import (
    MOST_AT_ONCE,
    MOST_DEADLINES,
    Attended,
    GuardPanel,
    Wants,
    check_guards,
    open_panel,
)
from serve.gate.values import MOST_OF_A_REQUEST, Conversation, Excerpt, Ruling, Stage
from serve.observe.metrics import Metrics
from serve.options.gate import GuardSettings
from tests.fakes.scripted_guard import ScriptedGuard, Told, completion

pytestmark = pytest.mark.anyio
CATALOG = load_catalog()
SAFE, UNSAFE = completion("safe"), completion("unsafe\nS9")
PATIENCE_S = 60.0
OPTIONS: TypeAdapter[list[GuardSettings]] = TypeAdapter(list[GuardSettings])


@pytest.fixture
def server() -> Iterator[ScriptedGuard]:
    with ScriptedGuard(SAFE).running() as guard:
        yield guard


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


def endpoint(server: ScriptedGuard, name: str = "model", **changes: Any) -> dict[str, Any]:
    fixed = {"kind": "endpoint", "name": name, "format": "llama_guard", "url": server.url}
    return {**fixed, "deadline_s": PATIENCE_S, "stages": ["input", "reasoning", "answer"], **changes}


def words(*patterns: str, name: str = "words") -> dict[str, Any]:
    return {"kind": "patterns", "name": name, "patterns": patterns}


def options(*guards: dict[str, Any]) -> list[GuardSettings]:
    return OPTIONS.validate_python(list(guards))


def opened(metrics: Metrics, *guards: dict[str, Any]) -> AbstractAsyncContextManager[GuardPanel]:
    return open_panel(options(*guards), CATALOG, metrics)


def request() -> Conversation:
    """Another one each time: guards are counted by request."""
    return Conversation("What is this?", (), "groundrule", "req-1")


def excerpt(text: str = "Some text.", stage: Stage = Stage.ANSWER, *, final: bool = True) -> Excerpt:
    return Excerpt(stage, text, 0, 0, final)


async def ruled(panel: GuardPanel, shown: Excerpt | None = None, about: Conversation | None = None) -> Ruling:
    ruling = panel.examine(shown or excerpt(), about or request())
    return ruling if isinstance(ruling, Ruling) else await ruling


def status(metrics: Metrics, guard: str, status: str) -> float:
    labels = {"guard": guard, "stage": "answer", "status": status}
    return metrics.registry.get_sample_value("groundrule_guard_rulings_total", labels) or 0.0


HOWEVER_IT_FAILS: dict[str, tuple[dict[str, Any], Told]] = {
    "late": ({"deadline_s": 0.2}, Told(SAFE, stalls=True)),
    "failing": ({}, Told(SAFE, status=500)),
    "redirecting": ({}, Told(SAFE, status=307)),
    "broken off": ({}, Told(SAFE, dies=True)),
    "unreadable": ({}, Told(completion("perhaps"))),
    "no object": ({}, Told(b"[]")),
    "no JSON": ({}, Told(b"safe")),
    "endless": ({}, Told(b" " * (2 << 20))),
}


@pytest.mark.parametrize("how", HOWEVER_IT_FAILS)
@pytest.mark.parametrize("on_error", ["block", "pass"])
async def test_a_late_a_failing_and_an_unreadable_guard_block_alike(
    server: ScriptedGuard, metrics: Metrics, how: str, on_error: str
) -> None:
    changes, told = HOWEVER_IT_FAILS[how]
    server.enqueue(told)
    async with opened(metrics, endpoint(server, on_error=on_error, **changes)) as panel:
        ruling = await ruled(panel)
    assert (ruling.blocks, ruling.guard, ruling.failed) == (on_error == "block", "model", True)
    assert ruling.category is None
    assert status(metrics, "model", "late" if how == "late" else "failed") == 1


async def test_a_guard_that_is_not_there_blocks(server: ScriptedGuard, metrics: Metrics) -> None:
    async with opened(metrics, endpoint(server, url="http://127.0.0.1:9")) as panel:
        assert (await ruled(panel)).blocks


async def test_what_a_guard_says_is_what_holds(server: ScriptedGuard, metrics: Metrics) -> None:
    async with opened(metrics, endpoint(server)) as panel:
        assert not (await ruled(panel)).blocks
        server.enqueue(UNSAFE)
        ruling = await ruled(panel)
    assert (ruling.blocks, ruling.guard, ruling.category, ruling.failed) == (True, "model", "S9", False)
    assert (status(metrics, "model", "passed"), status(metrics, "model", "blocked")) == (1, 1)


async def test_a_guard_looks_at_its_stages_alone(server: ScriptedGuard, metrics: Metrics) -> None:
    async with opened(metrics, endpoint(server, stages=["input"])) as panel:
        assert panel.covers(Stage.INPUT)
        assert not panel.covers(Stage.ANSWER)
        assert panel.examine(excerpt(), request()) == Ruling(blocks=False)
    assert not server.history


async def test_a_guards_window_is_asked_for_where_it_looks(server: ScriptedGuard, metrics: Metrics) -> None:
    async with opened(metrics, words("x"), endpoint(server, stages=["answer"], window_chars=600)) as panel:
        assert (panel.window_chars(Stage.ANSWER), panel.window_chars(Stage.REASONING)) == (600, 0)
        assert (panel.waits(Stage.ANSWER), panel.waits(Stage.REASONING)) == (True, False)


class Meeting:
    """A guard that judges once so many are being asked at the same time."""

    stages = frozenset({Stage.ANSWER})

    def __init__(self, name: str, others: asyncio.Barrier) -> None:
        self.name = name
        self._others = others

    async def judge(self, excerpt: Excerpt, about: Conversation) -> Ruling:
        await self._others.wait()
        return Ruling(blocks=False)


async def test_guards_of_a_stage_run_beside_one_another(metrics: Metrics) -> None:
    everybody = asyncio.Barrier(3)
    guards = [Meeting(f"guard-{number}", everybody) for number in range(3)]
    attended = [Attended(one, deadline_s=PATIENCE_S, on_error="block", metrics=metrics) for one in guards]
    assert not (await ruled(GuardPanel([], attended, Wants(), metrics))).blocks


async def test_the_first_that_objects_decides_and_the_others_are_not_waited_for(
    server: ScriptedGuard, metrics: Metrics
) -> None:
    with ScriptedGuard(Told(SAFE, stalls=True)).running() as silent:
        server.enqueue(Told(UNSAFE, delay_s=0.3))
        async with opened(metrics, endpoint(silent, "silent"), endpoint(server)) as panel:
            ruling = await ruled(panel)
        assert (ruling.blocks, ruling.guard) == (True, "model")
        await _until(lambda: silent.history[0].left)


async def test_words_object_before_anybody_is_asked(server: ScriptedGuard, metrics: Metrics) -> None:
    async with opened(metrics, words("forbidden"), endpoint(server)) as panel:
        ruling = panel.examine(excerpt("A FORBIDDEN word"), request())
        assert isinstance(ruling, Ruling)
        assert (ruling.blocks, ruling.guard) == (True, "words")
        assert asyncio.isfuture(panel.examine(excerpt("Another word"), request()))
    assert not server.history


async def test_without_guards_that_are_waited_for_the_ruling_is_there_at_once(metrics: Metrics) -> None:
    async with opened(metrics, words("forbidden")) as panel:
        assert isinstance(panel.examine(excerpt("harmless"), request()), Ruling)
        assert not panel.waits(Stage.ANSWER)


async def test_a_dead_guard_costs_one_deadline_and_then_none(server: ScriptedGuard, metrics: Metrics) -> None:
    deadline_s = 1.0
    server.usual = Told(SAFE, stalls=True)
    async with opened(metrics, endpoint(server, deadline_s=deadline_s)) as panel:
        began = time.monotonic()
        rulings = await asyncio.gather(*(ruled(panel) for _ in range(FAILURES)))
        assert time.monotonic() - began < deadline_s * FAILURES
        assert all(ruling.blocks for ruling in rulings)
        began = time.monotonic()
        assert (await ruled(panel)).blocks
        assert time.monotonic() - began < deadline_s
    assert len(server.history) <= FAILURES
    assert (status(metrics, "model", "late"), status(metrics, "model", "not_run")) == (FAILURES, 1)


class Counted:
    """A guard that takes its time, for ever over what is endless, and counts who asks it at once."""

    name = "counted"
    stages = frozenset({Stage.ANSWER})

    def __init__(self, takes_s: float = 0.05) -> None:
        self.most = 0
        self._takes_s = takes_s
        self._now = 0

    async def judge(self, excerpt: Excerpt, about: Conversation) -> Ruling:
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            await asyncio.sleep(PATIENCE_S if "endless" in excerpt.text else self._takes_s)
        finally:
            self._now -= 1
        return Ruling(blocks=False)


def attended_by(guard: Counted, metrics: Metrics, deadline_s: float = PATIENCE_S) -> GuardPanel:
    one = Attended(guard, deadline_s=deadline_s, on_error="block", metrics=metrics)
    return GuardPanel([], [one], Wants(), metrics)


async def test_a_guard_is_asked_a_few_things_at_a_time_and_fewer_of_one_request(metrics: Metrics) -> None:
    for requests, most in ((1, MOST_OF_A_REQUEST), (20, MOST_AT_ONCE)):
        guard = Counted()
        panel = attended_by(guard, metrics)
        asked = [about for about in (request() for _ in range(requests)) for _ in range(100)]
        rulings = await asyncio.gather(*(ruled(panel, about=about) for about in asked))
        assert not any(ruling.blocks for ruling in rulings)
        assert guard.most == most


async def test_who_waits_for_a_turn_has_the_whole_deadline_then(metrics: Metrics) -> None:
    deadline_s = 2.0
    panel, about = attended_by(Counted(takes_s=0.8), metrics, deadline_s), request()
    began = time.monotonic()
    asked = (ruled(panel, about=about) for _ in range(4 * MOST_OF_A_REQUEST))
    assert not any(ruling.blocks for ruling in await asyncio.gather(*asked))
    assert time.monotonic() - began > deadline_s


async def test_nobody_waits_for_a_turn_for_ever(metrics: Metrics) -> None:
    deadline_s = 0.2
    panel, about = attended_by(Counted(takes_s=deadline_s / 2), metrics, deadline_s), request()
    began = time.monotonic()
    rulings = await asyncio.gather(*(ruled(panel, about=about) for _ in range(100 * MOST_OF_A_REQUEST)))
    assert time.monotonic() - began < 3 * MOST_DEADLINES * deadline_s < 100 * deadline_s / 2
    assert any(ruling.blocks and ruling.failed for ruling in rulings)


async def test_one_request_has_a_guard_left_out_for_itself_alone(metrics: Metrics) -> None:
    panel, slow = attended_by(Counted(), metrics, deadline_s=0.5), request()
    asked = (ruled(panel, excerpt("endless"), slow) for _ in range(3 * FAILURES))
    assert all(ruling.blocks for ruling in await asyncio.gather(*asked))
    assert not (await ruled(panel)).failed
    (run,) = (await ruled(panel, about=slow)).runs
    assert run.status == "not_run"


async def test_a_guard_that_came_back_is_asked_again(server: ScriptedGuard, metrics: Metrics) -> None:
    server.enqueue(*(Told(SAFE, dies=True) for _ in range(FAILURES)))
    async with opened(metrics, endpoint(server)) as panel:
        for _ in range(FAILURES):
            assert (await ruled(panel)).blocks
        await _until(lambda: ruled(panel), passes=True)


async def test_a_caller_who_makes_a_guard_stumble_does_not_have_it_left_out(
    server: ScriptedGuard, metrics: Metrics
) -> None:
    server.enqueue(*(Told(completion("perhaps")) for _ in range(FAILURES)), *[Told({}, 500)] * FAILURES)
    async with opened(metrics, endpoint(server, on_error="pass")) as panel:
        for _ in range(2 * FAILURES):
            assert not (await ruled(panel)).blocks
        server.enqueue(UNSAFE)
        assert (await ruled(panel)).blocks


async def test_a_caller_who_leaves_takes_the_question_along(server: ScriptedGuard, metrics: Metrics) -> None:
    server.usual = Told(SAFE, stalls=True)
    async with opened(metrics, endpoint(server)) as panel:
        asking = panel.examine(excerpt(), request())
        assert asyncio.isfuture(asking)
        await _until(lambda: bool(server.history))
        asking.cancel()
        await _until(lambda: server.history[0].left)


async def test_what_nobody_judged_is_told_to_the_operator_and_holds_no_text(
    server: ScriptedGuard, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    server.usual = Told(completion("words of the caller"))
    async with opened(metrics, endpoint(server, on_error="pass")) as panel:
        await ruled(panel, excerpt("words of the caller"))
    (record,) = [one for one in caplog.records if one.getMessage() == "guard_failed"]
    assert record.levelno == logging.ERROR
    assert vars(record)["fields"]["guard"] == "model"
    assert "words of the caller" not in str(vars(record))


async def test_every_guard_that_was_asked_is_in_the_ruling(server: ScriptedGuard, metrics: Metrics) -> None:
    async with opened(metrics, words("forbidden"), endpoint(server)) as panel:
        ruling = await ruled(panel)
    assert isinstance(ruling, Ruling)
    assert {(run.guard, run.status) for run in ruling.runs} == {("words", "passed"), ("model", "passed")}


async def test_one_excerpt_a_channel_is_out_at_a_time(server: ScriptedGuard, metrics: Metrics) -> None:
    """What arrives while a guard thinks is the next excerpt: a slow guard is asked less, and for more."""
    async with opened(metrics, endpoint(server, context_chars=4)) as panel:
        hold = Hold(Stage.ANSWER, panel.reach, panel.context, 10)
        hold.put("0123456789")
        first = hold.due()
        assert first is not None
        ruling = panel.examine(first, request())
        for _ in range(30):
            hold.put("0123456789")
            assert hold.due() is first
        assert not hold.take()
        assert asyncio.isfuture(ruling)
        assert not (await ruling).blocks
        hold.clear(first)
        second = hold.due()
        assert second is not None
        await ruled(panel, second)
    texts = [body["messages"][-1]["content"][0]["text"] for body in server.seen]
    assert texts == ["0123456789", "6789" + "0123456789" * 30]


async def test_no_character_is_shown_twice_but_the_overlap(server: ScriptedGuard, metrics: Metrics) -> None:
    text = "A harmless sentence of a long answer. " * 60
    async with opened(metrics, words("forbidden[ -]word"), endpoint(server, context_chars=100)) as panel:
        await _stream(panel, text, piece=200)
    total = sum(len(body["messages"][-1]["content"][0]["text"]) for body in server.seen)
    assert len(text) < total <= 2 * len(text)


async def test_a_guard_with_less_context_is_shown_less(server: ScriptedGuard, metrics: Metrics) -> None:
    with ScriptedGuard(SAFE).running() as narrow:
        guards = endpoint(server, context_chars=500), endpoint(narrow, "narrow", context_chars=10)
        async with opened(metrics, *guards) as panel:
            await ruled(panel, Excerpt(Stage.ANSWER, "o" * 500 + "n" * 50, 0, 500, False))
    assert narrow.seen[0]["messages"][-1]["content"][0]["text"] == "o" * 10 + "n" * 50
    assert len(server.seen[0]["messages"][-1]["content"][0]["text"]) == 550


async def test_keys_go_to_their_guard_and_come_from_the_environment(
    server: ScriptedGuard, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(GuardRefused, match="GUARD_KEY"):
        async with opened(metrics, endpoint(server, key_variable="GUARD_KEY")):
            pass
    monkeypatch.setenv("GUARD_KEY", "k-1")
    async with opened(metrics, endpoint(server, key_variable="GUARD_KEY")) as panel:
        await ruled(panel)
    assert server.history[0].headers["authorization"] == "Bearer k-1"
    assert server.history[0].headers["x-request-id"] == "req-1"


async def test_an_operators_policy_is_what_the_guard_judges_by(
    server: ScriptedGuard, metrics: Metrics, tmp_path: Path
) -> None:
    policy = tmp_path / "policy.txt"
    server.usual = Told(completion('{"violation": 1, "policy": "HOUSE-1"}'))
    own = endpoint(server, format="gpt_oss_safeguard", policy=str(policy))
    with pytest.raises(GuardRefused, match=r"policy\.txt"):
        async with opened(metrics, own):
            pass
    policy.write_text("HOUSE-1: nothing about the house rules' example.")
    async with opened(metrics, own) as panel:
        assert (await ruled(panel)).category == "HOUSE-1"
    assert "HOUSE-1" in server.seen[0]["messages"][0]["content"]


async def test_a_guard_that_cannot_see_what_it_is_to_judge_stops_the_start(
    server: ScriptedGuard, metrics: Metrics
) -> None:
    with pytest.raises(GuardRefused, match="cannot judge answer"):
        check_guards(options(endpoint(server, format="llava_guard", stages=["image", "answer"])), CATALOG)
    with pytest.raises(GuardRefused, match="patterns cannot judge image"):
        check_guards(options({**words("forbidden"), "stages": ["image"]}), CATALOG)
    check_guards(options(endpoint(server, format="llava_guard", stages=["image"]), words("x")), CATALOG)


async def _stream(panel: GuardPanel, text: str, piece: int) -> None:
    """A whole channel, as the gate has it."""
    hold = Hold(Stage.ANSWER, panel.reach, panel.context, piece)
    for start in range(0, len(text), piece):
        hold.put(text[start : start + piece])
        await _clear(panel, hold)
    hold.end()
    await _clear(panel, hold)


async def _clear(panel: GuardPanel, hold: Hold) -> None:
    while (due := hold.due()) is not None:
        assert not (await ruled(panel, due)).blocks
        hold.clear(due)
        hold.take()


async def _until(claim: Any, *, passes: bool = False) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        said = claim()
        if not (await said).blocks if passes else said:
            return
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.05)
