"""POST /beta/litellm_basic_guardrail_api: our guards and our model as somebody else's guardrail."""

from collections.abc import Iterator

import httpx
import pytest

from serve.errors import EngineUnavailable
from serve.gate.guard import GuardFailed
from serve.gate.values import Stage
from serve.gate.wording import WITHHELD
from serve.options.door import LimitSettings
from tests.serve.answering import FORBIDDEN, Answering, Said, ScriptedGuard, answering
from tests.serve.judging import COMPLIES, PICTURE, REFUSES, Judging, judging

pytestmark = pytest.mark.anyio
BLOCKED = {
    "action": "BLOCKED",
    "blocked_reason": WITHHELD,
    "texts": None,
    "images": None,
    "stream_holdback_chars": None,
}
PASSED = {**BLOCKED, "action": "NONE", "blocked_reason": None}


@pytest.fixture(scope="module")
def around() -> Iterator[Answering]:
    with answering() as running:
        yield running


async def action(asked: Judging, input_type: str = "request", **fields: object) -> str:
    answer = await asked.guard(input_type, **fields)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["action"])


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


async def test_litellms_request_is_answered_in_its_shape(around: Answering) -> None:
    async with judging(around) as asked:
        asked.says(COMPLIES, REFUSES)
        assert (await asked.guard(texts=["Hello."])).json() == PASSED
        assert (await asked.guard(texts=["Hello."])).json() == BLOCKED
        reach = asked.around.parts.panel.reach
        reply = (await asked.guard("response", texts=["One.", "Two."])).json()
    assert reply == {**PASSED, "stream_holdback_chars": [reach, reach]}
    assert reach == len(FORBIDDEN)


async def test_no_verdict_is_never_a_pass(around: Answering) -> None:
    async with judging(around) as asked:
        asked.says("No trace.")
        assert code_of(await asked.guard(texts=["Hello."])) == (503, "undecided")
        asked.around.say(Said(refuses=EngineUnavailable("the engine is starting; try again")))
        assert code_of(await asked.guard(texts=["Hello."])) == (503, "engine_unavailable")


async def test_too_many_texts_are_refused_before_anybody_is_asked() -> None:
    guard = ScriptedGuard(Stage.INPUT)
    with answering(guard, limits=LimitSettings(texts_per_request=2)) as running:
        async with judging(running) as asked:
            refused = await asked.guard(texts=["a", "b", "c"])
            assert (code_of(refused), refused.json()["error"]["param"]) == ((400, "invalid_request"), "texts")
            assert guard.shown == asked.around.engines.history == []
            asked.says(COMPLIES)
            assert await action(asked, texts=["a", "b", "a"]) == "NONE"


async def test_forbidden_words_block_before_the_model_is_asked(around: Answering) -> None:
    async with judging(around) as asked:
        assert await action(asked, texts=["harmless", f"a {FORBIDDEN}"]) == "BLOCKED"
        assert await action(asked, "response", texts=["harmless", f"a {FORBIDDEN}"]) == "BLOCKED"
        assert not asked.around.engines.history


async def test_a_guard_that_is_down_looks_like_one_that_objects() -> None:
    guard = ScriptedGuard(Stage.ANSWER)
    with answering(guard) as running:
        async with judging(running) as asked:
            objected = await asked.guard("response", texts=[FORBIDDEN])
            guard.error = GuardFailed("it cannot be reached", is_gone=True)
            failed = await asked.guard("response", texts=["harmless"])
    assert objected.json()["action"] == failed.json()["action"] == "BLOCKED"
    assert objected.json() == failed.json()


async def test_tool_calls_are_judged_as_text_escapes_and_all(around: Answering) -> None:
    hidden = "".join(f"\\u{ord(letter):04x}" for letter in FORBIDDEN)
    function = {"name": "send", "arguments": f'{{"x": "{hidden}"}}'}
    call = {"id": "c", "type": "function", "function": function}
    async with judging(around) as asked:
        assert await action(asked, "response", tool_calls=[call]) == "BLOCKED"


async def test_replies_are_shown_to_the_model_only_if_the_operator_wants_it(around: Answering) -> None:
    async with judging(around) as asked:
        assert await action(asked, "response", texts=["A reply."]) == "NONE"
        assert not asked.around.engines.history
    async with judging(around, judge_responses=True) as asked:
        asked.says(REFUSES)
        assert await action(asked, "response", texts=["A reply."]) == "BLOCKED"


@pytest.mark.parametrize("image", [PICTURE, PICTURE.partition(",")[2]])
async def test_pictures_reach_guards_and_model_as_drawn_anew(image: str) -> None:
    guard = ScriptedGuard(Stage.IMAGE)
    with answering(guard) as running:
        async with judging(running) as asked:
            asked.says(COMPLIES)
            assert await action(asked, texts=["What is this?"], images=[image]) == "NONE"
            (heard,) = asked.around.engines.history
    parts = heard.call.payload["messages"][0]["content"]
    assert [part["type"] for part in parts] == ["image_url", "text"]
    assert guard.shown[0].picture is not None
    assert guard.shown[0].picture.startswith(b"\x89PNG")


async def test_a_picture_that_cannot_be_read_is_an_error_and_no_pass(around: Answering) -> None:
    async with judging(around) as asked:
        answer = await asked.guard(texts=["What is this?"], images=["bm90IGEgcGljdHVyZQ=="])
    assert code_of(answer) == (400, "invalid_image")
    assert answer.json()["error"]["param"] == "images[0]"


async def test_nothing_to_judge_passes(around: Answering) -> None:
    async with judging(around) as asked:
        assert await action(asked) == "NONE"
        assert not asked.around.engines.history


@pytest.mark.parametrize(
    "fields",
    [
        {"input_type": "both"},
        {"texts": "one"},
        {"texts": [1]},
        {"images": {}},
        {"tool_calls": ["call"]},
    ],
)
async def test_what_is_not_in_the_contract_is_an_error_and_no_pass(
    around: Answering, fields: dict[str, object]
) -> None:
    async with judging(around) as asked:
        answer = await asked.guard(**{"input_type": "request", **fields})  # type: ignore[arg-type]
    assert code_of(answer) == (400, "invalid_request")
    assert answer.json()["error"]["param"] == next(iter(fields))


async def test_every_request_leaves_an_audit_row_of_all_who_looked() -> None:
    with answering(ScriptedGuard(Stage.INPUT)) as running:
        async with judging(running) as asked:
            asked.says(REFUSES)
            await asked.guard(texts=["Hello."])
            (row,) = asked.around.ledger.rows
    assert (row.api, row.status, row.choices[0].action) == ("guardrail", 200, "withheld")
    assert {(run.guard, run.status) for run in row.guards} == {("words", "passed"), ("scripted", "passed")}


async def test_while_observing_an_objection_is_in_the_audit_and_not_in_the_answer() -> None:
    """Neither of guards nor of the model, nor that a guard is down."""
    guard = ScriptedGuard(Stage.ANSWER)
    with answering(guard, mode="observe") as running:
        async with judging(running) as asked:
            asked.says(REFUSES)
            assert (await asked.guard(texts=["Hello."])).json() == PASSED
            assert await action(asked, texts=[FORBIDDEN]) == "NONE"
            guard.error = GuardFailed("it cannot be reached", is_gone=True)
            assert await action(asked, "response", texts=["harmless"]) == "NONE"
            asked.says("No trace.")
            assert code_of(await asked.guard(texts=["Hello."])) == (503, "undecided")
            by_model, by_words, by_nobody, _ = asked.around.ledger.rows
    (choice,) = by_model.choices
    assert (choice.action, choice.would) == ("none", "withheld")
    assert {(run.guard, run.status) for run in by_words.guards} == {("words", "blocked")}
    assert ("scripted", "failed") in {(run.guard, run.status) for run in by_nobody.guards}
    assert by_model.mode == "observe"
