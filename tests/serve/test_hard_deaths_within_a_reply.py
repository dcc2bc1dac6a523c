"""Claims about engines that die within their reply: what is told is whole, or is told to be broken."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes.scripted_engine import USAGE
from tests.serve.audited import json_of
from tests.serve.deaths import (
    ANSWER,
    CHAT,
    FAILED,
    REPLY,
    RESPONSES,
    TRACE,
    WHOLE,
    Asked,
    World,
    asked,
    assert_refused,
    histories,
    opened_worlds,
    told_by,
)

UNSHOWN, IN_REASONING, BEHIND_VERDICT, IN_ANSWER, BEHIND_FINISH = (
    "behind an empty chunk",
    "in the reasoning",
    "between verdict and answer",
    "in the answer",
    "between finish and end",
)
BEGUN = {UNSHOWN: 1, IN_REASONING: 3, BEHIND_VERDICT: 5, IN_ANSWER: 12, BEHIND_FINISH: 1 + 4 + len(ANSWER)}
"""After so many events."""
BEHIND_USAGE = BEGUN[BEHIND_FINISH] + 1
SHOWN = {
    IN_REASONING: TRACE[0],
    BEHIND_VERDICT: "Verdict: comply",
    IN_ANSWER: ANSWER[0],
    BEHIND_FINISH: ANSWER[-1].strip(),
}
"""What has reached a streaming caller by then."""


@pytest.fixture(scope="module")
def worlds(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[int, World]]:
    with opened_worlds(bundle, tmp_path_factory.mktemp("deaths")) as worlds:
        yield worlds


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


@pytest.mark.parametrize(("path", "stream"), [(CHAT, False), (CHAT, True), (RESPONSES, True)])
def test_an_engine_that_dies_behind_its_usage_has_said_it_all(
    worlds: Mapping[int, World], path: str, stream: bool
) -> None:
    """Only `[DONE]` is missing, which carries nothing."""
    world = worlds[1]
    world.first.dies(replace(REPLY, dies_after=BEHIND_USAGE))
    it = asked(world, path, stream=stream)
    assert it.answer.status == 200
    assert replace(it.told, finishes=WHOLE.finishes) == WHOLE
    assert (it.row["outcome"], it.row["status"]) == ("ok", 200)
    assert it.row["completion_tokens"] == USAGE["completion_tokens"]
    assert it.counted == {"request ok": 1, "try began": 1}


def test_an_engine_that_says_behind_its_usage_that_it_failed_has_failed(worlds: Mapping[int, World]) -> None:
    world = worlds[1]
    world.first.dies(replace(REPLY, fails_after=BEHIND_USAGE))
    it = asked(world, CHAT, stream=False)
    assert_refused(it)
    assert_tried_once(world, it)
