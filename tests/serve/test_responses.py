"""Claims about the responses API: its requests, its items, and the order of its events."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from serve.errors import EngineFailed
from serve.gate.wording import REPLACED, WITHHELD
from tests.serve.answering import (
    ANSWER,
    FORBIDDEN,
    TRACE,
    Answering,
    Json,
    Said,
    answering,
    ask_responses,
)
from tests.serve.gateways import REFUSAL

PATH = "/v1/responses"
CUT_OFF = TRACE + "It is nice. " * 30 + FORBIDDEN
CUT_AT_A_WORD = CUT_OFF.replace(" is nice. ", "-is-nice.-")
COMPLIES = REFUSAL.partition("</think>")[0] + "</think>\nSure! Here is how: first, do this."
CALL = {"index": 0, "id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"a":1}'}}
TOOL = {"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": False}
REASONED = [
    "response.output_item.added",
    "response.content_part.added",
    "response.reasoning_text.delta",
    "response.reasoning_text.done",
    "response.content_part.done",
    "response.output_item.done",
]
ANSWERED = [
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
]
REFUSED = [name.replace("output_text", "refusal") for name in ANSWERED]
TEXT_PART = {"type": "input_text", "text": "A dog."}
HMM = {"type": "reasoning_text", "text": "Hm."}
FILE_PART = {"type": "input_image", "file_id": "f"}
BEGUN = ["response.created", "response.in_progress"]


@pytest.fixture(scope="module")
def running() -> Iterator[Answering]:
    with answering() as gateway:
        yield gateway


@pytest.fixture
def gateway(running: Answering) -> Answering:
    running.forget()
    return running


def asked(gateway: Answering, **fields: Any) -> list[Json]:
    """The messages that the engine got."""
    answer = gateway.post(ask_responses() | fields, PATH)
    assert answer.status_code == 200, answer.text
    messages: list[Json] = gateway.engines.history[0].call.payload["messages"]
    return messages


def body(gateway: Answering, **fields: Any) -> Json:
    answer = gateway.post(ask_responses(**fields), PATH)
    assert answer.status_code == 200, answer.text
    told: Json = answer.json()
    return told


def names(events: list[Json]) -> list[str]:
    """Their types, several deltas of one part as one."""
    types = [event["type"] for event in events]
    return [t for n, t in enumerate(types) if n == 0 or t != types[n - 1] or not t.endswith(".delta")]


def test_events_of_an_answer_come_in_order(gateway: Answering) -> None:
    events = gateway.events(ask_responses(stream=True))
    assert names(events) == [*BEGUN, *REASONED, *ANSWERED, "response.completed"]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))


def test_events_of_a_refusal_of_ours_end_completed(gateway: Answering) -> None:
    gateway.say(Said(COMPLIES))
    events = gateway.events(ask_responses(stream=True))
    assert names(events) == [*BEGUN, *REASONED, *REFUSED, "response.completed"]
    (part,) = events[-1]["response"]["output"][1]["content"]
    assert part == {"type": "refusal", "refusal": REPLACED}
    assert events[-1]["response"]["safety"]["action"] == "replaced"


def test_events_of_an_answer_that_was_cut_off_end_incomplete(gateway: Answering) -> None:
    gateway.say(Said(CUT_OFF))
    events = gateway.events(ask_responses(stream=True))
    part = ["response.content_part.added", "response.refusal.delta", "response.refusal.done"]
    told = [*BEGUN, *REASONED, *ANSWERED[:-1], *part, *ANSWERED[-2:], "response.incomplete"]
    assert names(events) == told
    response = events[-1]["response"]
    assert response["incomplete_details"] == {"reason": "content_filter"}
    assert [part["type"] for part in response["output"][1]["content"]] == ["output_text", "refusal"]
    assert response["output"][1]["content"][1]["refusal"] == WITHHELD
    assert response["output"][1]["status"] == response["status"] == "incomplete"
    assert FORBIDDEN not in str(events)


def test_events_of_a_reply_that_ran_out_of_tokens_end_incomplete(gateway: Answering) -> None:
    gateway.say(Said("<think>\n[visual] A cat.\n[textual] A que", finish="length"))
    events = gateway.events(ask_responses(stream=True))
    assert names(events) == [*BEGUN, *REASONED, "response.incomplete"]
    assert events[-1]["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    assert events[-1]["response"]["output"][0]["status"] == "incomplete"


def test_events_of_tool_calls_come_behind_the_message(gateway: Answering) -> None:
    gateway.say(Said(tool_calls=[CALL], finish="tool_calls"))
    events = gateway.events(ask_responses(stream=True, tools=[TOOL]))
    arguments = [f"response.function_call_arguments.{name}" for name in ("delta", "done")]
    called = ["response.output_item.added", *arguments, "response.output_item.done"]
    assert names(events) == [*BEGUN, *REASONED, *ANSWERED, *called, "response.completed"]
    item = events[-1]["response"]["output"][2]
    assert (item["type"], item["call_id"], item["name"]) == ("function_call", "c1", "look")
    assert item["arguments"] == '{"a":1}'


def test_an_error_is_the_last_event(gateway: Answering) -> None:
    gateway.say(Said(dies_after=14, error=EngineFailed("it broke; try again")))
    events = gateway.events(ask_responses(stream=True))
    assert [event["type"] for event in events[-2:]] == ["response.failed", "error"]
    assert events[-2]["response"]["status"] == "failed"
    assert events[-2]["response"]["error"]["code"] == "engine_failed"
    assert events[-1]["code"] == events[-1]["error"]["code"] == "engine_failed"


@pytest.mark.parametrize("said", [TRACE + ANSWER, CUT_OFF, COMPLIES, FORBIDDEN, REFUSAL])
def test_ids_stay_and_every_item_is_done_before_the_end(gateway: Answering, said: str) -> None:
    gateway.say(Said(said))
    events = gateway.events(ask_responses(stream=True))
    responses = {event["response"]["id"] for event in events if "response" in event}
    assert len(responses) == 1
    items: dict[int, set[str]] = {}
    for event in events:
        if "output_index" in event:
            id_ = event["item_id"] if "item_id" in event else event["item"]["id"]
            items.setdefault(event["output_index"], set()).add(id_)
    assert all(len(ids) == 1 for ids in items.values())
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert events[-1]["response"]["output"] == done


@pytest.mark.parametrize("said", [TRACE + ANSWER, CUT_AT_A_WORD, COMPLIES, REFUSAL])
def test_a_plain_body_is_what_a_stream_ends_with(gateway: Answering, said: str) -> None:
    gateway.say(Said(said, per_read=1000), Said(said))
    streamed = gateway.events(ask_responses(stream=True))[-1]["response"]
    plain = body(gateway)
    assert without_ids(plain) == without_ids(streamed)


def without_ids(told: Any) -> Any:
    if isinstance(told, list):
        return [without_ids(one) for one in told]
    if isinstance(told, dict):
        return {name: without_ids(value) for name, value in told.items() if name not in ("id", "created_at")}
    return told


def test_safety_stands_on_the_message_and_on_the_response(gateway: Answering) -> None:
    gateway.say(Said(REFUSAL))
    response = body(gateway)
    assert response["safety"] == response["output"][1]["safety"]
    assert response["safety"]["verdict"] == "refuse"
    assert response["usage"]["output_tokens"] == 20
    assert response["usage"]["output_tokens_details"]["reasoning_tokens"] > 0


def test_the_verdict_is_told_before_the_answer_and_steps_to_those_who_asked(gateway: Answering) -> None:
    silent = gateway.events(ask_responses(stream=True))
    told = gateway.events(ask_responses(stream=True, safety={}))
    assert "response.safety.step" not in names(silent)
    steps = [event["step"] for event in told if event["type"] == "response.safety.step"]
    assert steps == told[-1]["response"]["safety"]["steps"]
    (added,) = [e for e in silent if e["type"] == "response.output_item.added" and e["output_index"] == 1]
    assert added["item"]["safety"] == {"verdict": "comply"}


@pytest.mark.parametrize("shown", ["steps", "none"])
def test_reasoning_that_is_not_wanted_is_no_item(gateway: Answering, shown: str) -> None:
    safety = {"trace": shown}
    events = gateway.events(ask_responses(stream=True, safety=safety))
    assert [item["type"] for item in events[-1]["response"]["output"]] == ["message"]
    assert [item["type"] for item in body(gateway, safety=safety)["output"]] == ["message"]
    assert ("response.safety.step" in names(events)) is (shown == "steps")


def test_an_input_becomes_a_conversation(gateway: Answering) -> None:
    given = [
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": [{"type": "input_text", "text": "Look it up."}]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [HMM]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I will."}]},
        {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "A cat."},
        {"type": "function_call_output", "call_id": "c2", "output": [TEXT_PART]},
        {"role": "user", "content": "So?"},
    ]
    function = {"name": "look", "arguments": "{}"}
    calls = [{"id": id_, "type": "function", "function": function} for id_ in ("c1", "c2")]
    said = [{"type": "text", "text": "I will."}]
    assert asked(gateway, input=given, instructions="Be brief.") == [
        {"role": "system", "content": "Be brief."},
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "Look it up."}]},
        {"role": "assistant", "content": said, "reasoning": "Hm.", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c1", "content": "A cat."},
        {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "A dog."}]},
        {"role": "user", "content": "So?"},
    ]


def test_parameters_get_their_chat_names(gateway: Answering) -> None:
    fields: Json = {
        "max_output_tokens": 9,
        "temperature": 0.5,
        "reasoning": {"effort": "low", "summary": None},
        "text": {"format": {"type": "json_schema", "name": "x", "schema": {"type": "object"}}},
        "tools": [TOOL],
        "tool_choice": {"type": "function", "name": "look"},
        "metadata": {"a": "b"},
        "store": False,
        "model": "base",
        "seed": 3,
    }
    told = gateway.post(ask_responses() | fields, PATH).json()
    payload = gateway.engines.history[0].call.payload
    del payload["messages"]
    function = {name: value for name, value in TOOL.items() if name != "type"}
    assert payload == {
        "max_completion_tokens": 9,
        "temperature": 0.5,
        "reasoning_effort": "low",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "x", "schema": {"type": "object"}},
        },
        "tools": [{"type": "function", "function": function}],
        "tool_choice": {"type": "function", "function": {"name": "look"}},
        "seed": 3,
    }
    assert told["metadata"] == {"a": "b"}
    assert told["max_output_tokens"] == 9
    assert told["tools"] == [TOOL]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"store": True}, "store"),
        ({"background": True}, "background"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "c"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"include": ["reasoning.encrypted_content"]}, "include"),
        ({"truncation": "auto"}, "truncation"),
        ({"max_tool_calls": 3}, "max_tool_calls"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"n": 2}, "n"),
        ({"reasoning": {"summary": "auto"}}, "reasoning.summary"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"tools": [{"type": "web_search"}]}, "tools[0]"),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0]"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0]"),
        ({"input": [{"role": "user", "content": [FILE_PART]}]}, "input[0].content[0]"),
        ({"text": {"format": {"type": "json_object"}}}, "response_format"),
        ({"logit_bias": {"1": 1}}, "logit_bias"),
    ],
    ids=str,
)
def test_what_cannot_be_had_is_refused_by_name(gateway: Answering, fields: Json, param: str) -> None:
    answer = gateway.post(ask_responses() | fields, PATH)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "unsupported_parameter"
    assert answer.json()["error"]["param"] == param
    assert gateway.engines.history == []


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": [3]}, "input[0]"),
        ({"input": [{"role": "king", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": 3}]}, "input[0].content"),
        ({"input": [{"type": "function_call", "call_id": "c"}]}, "input[0]"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0]"),
        ({"instructions": 3}, "instructions"),
        ({"tools": 3}, "tools"),
        ({"reasoning": 3}, "reasoning"),
        ({"text": {"format": 3}}, "text"),
    ],
    ids=str,
)
def test_mistakes_are_named(gateway: Answering, fields: Json, param: str) -> None:
    answer = gateway.post(ask_responses() | fields, PATH)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param


def test_the_official_sdk_reads_plain_and_streamed(gateway: Answering) -> None:
    responses: Any = gateway.openai.responses
    plain = responses.create(**ask_responses())
    with responses.stream(**ask_responses(extra_body={"safety": {}})) as stream:
        events = list(stream)
        final = stream.get_final_response()
    for told in (plain, final):
        assert told.output_text == ANSWER
        assert told.output[0].content[0].text.startswith("[visual] The picture")
        assert told.safety["verdict"] == "comply"
        assert told.usage.output_tokens_details.reasoning_tokens == 17
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == ANSWER
    assert sum(event.type == "response.safety.step" for event in events) == 2


def test_the_official_sdk_reads_a_block_and_does_not_retry(gateway: Answering) -> None:
    responses: Any = gateway.openai.with_options(max_retries=2).responses
    gateway.say(*[Said(COMPLIES)] * 2, *[Said(CUT_OFF)] * 2)
    plain = responses.create(**ask_responses())
    with responses.stream(**ask_responses()) as stream:
        final = stream.get_final_response()
    for told in (plain, final):
        assert told.status == "completed"
        assert told.output[1].content[0].refusal == REPLACED
    cut = responses.create(**ask_responses())
    events = list(responses.create(**ask_responses(stream=True)))
    for told in (cut, events[-1].response):
        assert told.status == "incomplete"
        assert told.incomplete_details.reason == "content_filter"
        assert told.output[1].content[-1].refusal == WITHHELD
    assert len(gateway.engines.history) == 4


def test_the_official_sdk_raises_for_an_error_in_mid_stream(gateway: Answering) -> None:
    gateway.say(Said(dies_after=14, error=EngineFailed("it broke; try again")))
    responses: Any = gateway.openai.responses
    with pytest.raises(openai.APIError, match="it broke"):
        list(responses.create(**ask_responses(stream=True)))
