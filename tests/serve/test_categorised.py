"""Claims about `safety.policy_in_context: "categorised"`: one extra call names the policy, or fails."""

from collections.abc import Iterator

import pytest

from serve.engine.call import Json
from serve.errors import EngineRejected, EngineTimeout, EngineUnavailable
from tests.serve.answering import ANSWER, Answering, Said, answering, ask, ask_responses
from tests.serve.judging import PICTURE

CATEGORISED: Json = {"safety": {"policy_in_context": "categorised"}}
FOUND = '{"category": "P19"}'


@pytest.fixture(scope="module")
def running() -> Iterator[Answering]:
    with answering() as gateway:
        yield gateway


@pytest.fixture
def gateway(running: Answering) -> Answering:
    running.forget()
    return running


def payloads(gateway: Answering) -> list[Json]:
    return [heard.call.payload for heard in gateway.engines.history]


def test_the_policy_that_was_found_is_in_context(gateway: Answering) -> None:
    gateway.say(Said(FOUND), Said())
    assert gateway.message(text="What is this?", **CATEGORISED)["content"] == ANSWER
    sorting, answering_ = payloads(gateway)
    assert '"question": "What is this?"' in sorting["messages"][-1]["content"]
    assert answering_["messages"][0]["role"] == "system"
    assert "P19" in answering_["messages"][0]["content"]
    assert "P07" not in answering_["messages"][0]["content"]


def test_the_base_model_is_asked_and_held_to_a_category(gateway: Answering) -> None:
    gateway.say(Said(FOUND), Said())
    gateway.message(**CATEGORISED)
    sorting, answering_ = (heard.call for heard in gateway.engines.history)
    assert (sorting.route.version.adapter, sorting.route.version.is_aligned) == (None, False)
    assert answering_.route.version.adapter
    assert "P19" in sorting.payload["structured_outputs"]["json"]["properties"]["category"]["enum"]


def test_pictures_of_the_last_message_are_sorted_with_it(gateway: Answering) -> None:
    gateway.say(Said(FOUND), Said())
    part = {"type": "image_url", "image_url": {"url": PICTURE}}
    asked = [{"role": "user", "content": [part, {"type": "text", "text": "And this?"}]}]
    assert gateway.post(ask(messages=asked, **CATEGORISED)).status_code == 200
    kinds = [part["type"] for part in payloads(gateway)[0]["messages"][-1]["content"]]
    assert kinds == ["image_url", "text"]


def test_where_no_policy_has_anything_to_say_none_is_in_context(gateway: Answering) -> None:
    gateway.say(Said('<think>\nHarmless.\n</think>\n{"category": "none"}'), Said())
    assert gateway.message(**CATEGORISED)["content"] == ANSWER
    assert [message["role"] for message in payloads(gateway)[1]["messages"]] == ["user"]


@pytest.mark.parametrize(
    "sorted_as",
    [
        Said("I cannot say."),
        Said('{"category": "P77"}'),
        Said('{"category": "P19"} or {"category": "P07"}'),
        Said(FOUND, finish="length"),
        Said(""),
        Said(refuses=EngineUnavailable("gone")),
        Said(refuses=EngineTimeout("silent")),
        Said(refuses=EngineRejected("too long", status=400)),
    ],
    ids=["prose", "unknown", "two", "cut off", "empty", "engine gone", "engine silent", "engine refuses"],
)
@pytest.mark.parametrize("stream", [False, True])
def test_without_a_category_nothing_is_answered(gateway: Answering, sorted_as: Said, stream: bool) -> None:
    gateway.say(sorted_as, Said())
    answer = gateway.post(ask(stream=stream, **CATEGORISED))
    code = sorted_as.refuses.code if sorted_as.refuses else "undecided"
    assert answer.status_code in (400, 503, 504)
    assert "too long" not in answer.text
    assert answer.json()["error"]["code"] == code
    assert len(gateway.engines.history) == 1
    assert gateway.row.outcome == code


def test_both_calls_are_counted_and_told(gateway: Answering) -> None:
    gateway.say(Said(FOUND), Said())
    told = gateway.post(ask_responses(**CATEGORISED), "/v1/responses").json()["usage"]
    assert (told["input_tokens"], told["output_tokens"], told["total_tokens"]) == (22, 40, 62)
    assert told["output_tokens_details"]["reasoning_tokens"] < 20
    assert (gateway.row.prompt_tokens, gateway.row.completion_tokens) == (22, 40)
    assert gateway.door.places[0].used_tokens == 62


def test_without_being_asked_for_no_call_is_made(gateway: Answering) -> None:
    for asked in ({}, {"safety": {"policy_in_context": "auto"}}):
        gateway.forget()
        gateway.message(**asked)
        assert len(gateway.engines.history) == 1
