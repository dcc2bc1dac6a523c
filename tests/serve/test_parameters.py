"""Claims about every parameter that is more than passed on: it works, or it is refused by its name."""

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serve.api import parameters
from serve.api.parameters import NO_VARIABLES
from serve.door.caller import ANONYMOUS, Caller
from serve.gate.values import Stage
from tests.serve.answering import (
    ANSWER,
    BASE,
    FORBIDDEN,
    TRACE,
    Answering,
    Json,
    Said,
    ScriptedGuard,
    answering,
    ask,
    ask_responses,
)

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
FORGING: list[Json] = [
    {"echo": True},
    {"continue_final_message": True},
    {"add_generation_prompt": False},
    {"chat_template": "x"},
    {"truncate_prompt_tokens": 20},
    {"truncate_prompt_tokens": -1},
    {"truncation_side": "left"},
    {"mm_processor_kwargs": {"max_pixels": 784}},
    {"media_io_kwargs": {"image": {"image_mode": "L"}}},
    {"lora_path": "another"},
]
UNSCANNED: list[Json] = [
    {"functions": [{"name": "f"}]},
    {"function_call": "auto"},
    {"modalities": ["text", "audio"]},
    {"audio": {"voice": "x", "format": "wav"}},
    {"prediction": {"type": "content", "content": "x"}},
    {"web_search_options": {"search_context_size": "low"}},
    {"store": True},
    {"moderation": {"model": "x"}},
    {"kv_transfer_params": {"a": 1}},
    {"ec_transfer_params": {"a": 1}},
    {"vllm_xargs": {"a": 1}},
    {"custom_logit_processor": "x"},
    {"custom_params": {"a": 1}},
    {"session_params": {"id": "x"}},
    {"return_hidden_states": True},
    {"use_beam_search": True},
    {"documents": [{"text": "x"}]},
    {"mm_payload": {"a": 1}},
    {"top_logprobs": 3, "logprobs": True},
    {"prompt_logprobs": 0},
    {"logprob_token_ids": [1]},
    {"return_token_ids": True},
    {"return_tokens_as_token_ids": True},
    {"return_token_offsets": True},
    {"return_prompt_text": True},
    {"return_mm_kwargs": True},
    {"include_reasoning": False},
]
STEERING: list[Json] = [
    {"logit_bias": {"5": -100}},
    {"bad_words": ["refuse"]},
    {"allowed_token_ids": [1, 2]},
]
FORMS: list[Json] = [
    {"response_format": {"type": "json_object"}},
    {"response_format": SCHEMA},
    {"structured_outputs": {"json": {"type": "object"}}},
    {"guided_json": {"type": "object"}},
    {"guided_regex": "a"},
    {"guided_choice": ["a"]},
    {"guided_grammar": "a"},
    {"regex": "a"},
    {"ebnf": "a"},
    {"tool_choice": "required", "tools": [TOOL]},
    {"tool_choice": {"type": "function", "function": {"name": "look"}}, "tools": [TOOL]},
]
PASSED_ON: list[Json] = [
    {"temperature": 0.25},
    {"top_p": 0.5},
    {"seed": 7},
    {"stop": ["x"]},
    {"max_tokens": 5},
    {"max_completion_tokens": 5},
    {"min_tokens": 1},
    {"frequency_penalty": 0.5},
    {"presence_penalty": 0.5},
    {"repetition_penalty": 1.5},
    {"reasoning_effort": "low"},
    {"parallel_tool_calls": False},
    {"logprobs": True},
    {"n": 2},
    {"tools": [TOOL], "tool_choice": "auto"},
    {"response_format": {"type": "text"}},
    {"user": "u1"},
    {"metadata": {"a": "b"}},
    {"chat_template_kwargs": {"thinking": True}},
    {"an_unknown_one": [1, {"a": None}]},
]
HARMLESS = {
    *("messages", "model", "stream", "stream_options", "n", "tools", "parallel_tool_calls", "user"),
    *("max_tokens", "max_completion_tokens", "min_tokens", "thinking_token_budget", "reasoning_effort"),
    *("temperature", "top_p", "top_k", "min_p", "seed", "watermarking", "logprobs"),
    *("frequency_penalty", "presence_penalty", "repetition_penalty", "length_penalty"),
    *("stop", "stop_token_ids", "include_stop_str_in_output", "ignore_eos", "repetition_detection"),
    *("add_special_tokens", "skip_special_tokens", "spaces_between_special_tokens"),
    *("chat_template_kwargs", "cache_salt", "priority", "request_id", "session_id"),
    *("routed_experts_prompt_start", "stream_interval"),
}
"""Fields of vLLM 0.32's request with which nothing comes in or goes out that the gate does not read."""
NOTHING_SAID: Json = {
    "echo": False,
    "add_generation_prompt": True,
    "functions": [],
    "function_call": "none",
    "modalities": ["text"],
    "store": False,
    "top_logprobs": 0,
    "logit_bias": {},
    "response_format": None,
    "tool_choice": "none",
    "include_reasoning": True,
    "prompt_logprobs": None,
}


@pytest.fixture(scope="module")
def running() -> Iterator[Answering]:
    with answering() as gateway:
        yield gateway


@pytest.fixture
def gateway(running: Answering) -> Answering:
    running.forget()
    return running


def refused(gateway: Answering, fields: Json, **more: Any) -> str:
    answer = gateway.post(ask(**fields) | more)
    error = answer.json()["error"]
    assert answer.status_code == 400, answer.text
    assert error["code"] == "unsupported_parameter"
    assert error["type"] == "invalid_request_error"
    assert error["param"] in error["message"]
    assert gateway.engines.history == []
    return str(error["param"])


@pytest.mark.parametrize("fields", [*FORGING, *UNSCANNED, *STEERING, *FORMS], ids=str)
def test_what_cannot_be_had_is_refused_by_name(gateway: Answering, fields: Json) -> None:
    assert refused(gateway, fields) == next(iter(fields))


@pytest.mark.parametrize("name", sorted(NO_VARIABLES))
def test_a_trace_cannot_be_forged_through_the_templates_variables(gateway: Answering, name: str) -> None:
    fields = {"chat_template_kwargs": {name: False}}
    assert refused(gateway, fields) == f"chat_template_kwargs.{name}"


def test_every_field_of_vllms_request_is_refused_or_known_to_be_harmless() -> None:
    refused = {*parameters.FORGING, *parameters.UNREAD, *parameters.STEERING, *parameters.FORMS}
    assert not refused & HARMLESS
    assert fields_of_vllm() - refused == HARMLESS


def fields_of_vllm() -> set[str]:
    """Read and not imported: that would take longer than all tests here."""
    found = importlib.util.find_spec("vllm")
    assert found is not None
    assert found.submodule_search_locations is not None
    (package,) = found.submodule_search_locations
    source = Path(package, "entrypoints/openai/chat_completion/protocol.py").read_text()
    (request,) = (
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and node.name == "ChatCompletionRequest"
    )
    targets = [line.target for line in request.body if isinstance(line, ast.AnnAssign)]
    named = {target.id for target in targets if isinstance(target, ast.Name)}
    return {name for name in named if not name.startswith("_")}


@pytest.mark.parametrize("option", ["continuous_usage_stats", "include_obfuscation"])
def test_options_of_streams_are_refused_by_name(gateway: Answering, option: str) -> None:
    fields = {"stream": True, "stream_options": {option: True}}
    assert refused(gateway, fields) == f"stream_options.{option}"


@pytest.mark.parametrize("fields", PASSED_ON, ids=str)
def test_what_is_harmless_reaches_the_engine_untouched(gateway: Answering, fields: Json) -> None:
    assert gateway.post(ask(**fields)).status_code == 200
    payload = gateway.engines.history[0].call.payload
    assert {name: payload[name] for name in fields} == fields


def test_values_that_say_nothing_are_no_parameters(gateway: Answering) -> None:
    assert gateway.post(ask(**NOTHING_SAID)).status_code == 200


def test_what_is_ours_does_not_reach_the_engine(gateway: Answering) -> None:
    options = {"include_usage": True}
    gateway.chunks(ask(stream=True, stream_options=options, safety={"trace": "steps"}))
    call = gateway.engines.history[0].call
    assert call.payload.keys() == {"messages"}
    assert not call.whole
    assert call.route.alias == "groundrule"


@pytest.mark.parametrize("fields", [*STEERING, *FORMS], ids=str)
def test_what_spoils_a_trace_is_had_where_none_is_owed(gateway: Answering, fields: Json) -> None:
    assert gateway.post(ask(**fields) | {"model": BASE}).status_code == 200


@pytest.mark.parametrize("fields", UNSCANNED, ids=str)
def test_what_nobody_scans_is_refused_on_every_alias(gateway: Answering, fields: Json) -> None:
    assert refused(gateway, fields, model=BASE) == next(iter(fields))


def test_an_engine_with_a_reasoning_parser_gives_only_the_answer_its_form() -> None:
    with answering(parsing_pools=frozenset({None})) as gateway:
        for fields in FORMS:
            assert gateway.post(ask(**fields)).status_code == 200
        assert gateway.post(ask(logit_bias={"5": -100})).status_code == 400


def test_observing_refuses_nothing_but_what_forges() -> None:
    with answering(mode="observe") as gateway:
        for fields in (*UNSCANNED, *STEERING, *FORMS):
            assert gateway.post(ask(**fields)).status_code == 200, fields
        gateway.forget()
        for fields in FORGING:
            assert refused(gateway, fields) == next(iter(fields))


def test_logprobs_come_at_the_end_and_never_with_a_block(gateway: Answering) -> None:
    logprobs = {"content": [{"token": "x", "logprob": -0.5, "bytes": [120], "top_logprobs": []}]}
    said = {"choice_extras": {"logprobs": logprobs}, "every": 20}
    gateway.say(Said(**said), Said(**said), Said(TRACE + FORBIDDEN, **said))
    plain = gateway.post(ask(logprobs=True)).json()["choices"][0]
    chunks = gateway.chunks(ask(logprobs=True, stream=True))[:-1]
    blocked = gateway.post(ask(logprobs=True)).json()["choices"][0]
    assert plain["logprobs"]["content"] == logprobs["content"]
    told = [chunk["choices"][0]["logprobs"] for chunk in chunks]
    assert told[:-1] == [None] * (len(chunks) - 1)
    assert len(told[-1]["content"]) == -(-len(TRACE + ANSWER) // 20)
    assert blocked["logprobs"] is None


@pytest.mark.parametrize("shown", ["steps", "none"])
def test_logprobs_do_not_tell_reasoning_that_is_hidden(gateway: Answering, shown: str) -> None:
    assert refused(gateway, {"logprobs": True, "safety": {"trace": shown}}) == "logprobs"


def test_tool_calls_come_whole_behind_the_answer(gateway: Answering) -> None:
    pieces = [
        {"index": 0, "id": "c1", "type": "function", "function": {"name": "look", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"at":'}},
        {"index": 0, "function": {"arguments": ' "cats"}'}},
        {"index": 1, "id": "c2", "type": "function", "function": {"name": "look", "arguments": "{}"}},
    ]
    gateway.say(Said(TRACE, tool_calls=pieces, finish="tool_calls"))
    chunks = gateway.chunks(ask(tools=[TOOL], stream=True))[:-1]
    (told,) = [c["choices"][0]["delta"] for c in chunks if "tool_calls" in c["choices"][0]["delta"]]
    assert [call["index"] for call in told["tool_calls"]] == [0, 1]
    assert [call["id"] for call in told["tool_calls"]] == ["c1", "c2"]
    assert told["tool_calls"][0]["function"] == {"name": "look", "arguments": '{"at": "cats"}'}
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_a_plain_answer_has_the_same_tool_calls(gateway: Answering) -> None:
    call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    gateway.say(Said(TRACE, tool_calls=[call], finish="tool_calls"))
    (choice,) = gateway.post(ask(tools=[TOOL])).json()["choices"]
    assert choice["message"]["content"] is None
    assert [call["id"] for call in choice["message"]["tool_calls"]] == ["c1"]
    assert choice["finish_reason"] == "tool_calls"


def test_a_stop_word_is_told_only_if_the_caller_named_it(gateway: Answering) -> None:
    gateway.say(*[Said(choice_extras={"stop_reason": "END"})] * 2, Said(choice_extras={"stop_reason": 7}))
    assert gateway.post(ask(stop=["END"])).json()["choices"][0]["stop_reason"] == "END"
    assert "stop_reason" not in gateway.post(ask(stop="OTHER")).json()["choices"][0]
    assert gateway.post(ask()).json()["choices"][0]["stop_reason"] == 7


def test_a_reply_that_stops_inside_its_reasoning_has_no_answer(gateway: Answering) -> None:
    gateway.say(Said("<think>\n[visual] A cat.\n[textual] A qu"))
    (choice,) = gateway.post(ask(stop=["question"])).json()["choices"]
    assert choice["finish_reason"] == "stop"
    assert not choice["message"]["content"]
    assert "unclosed_reasoning" in choice["message"]["safety"]["flags"]


def test_the_trace_is_shown_as_far_as_it_is_wanted(gateway: Answering) -> None:
    full, steps, none = (gateway.message(safety={"trace": shown}) for shown in ("full", "steps", "none"))
    assert full["reasoning"].startswith("[visual] The picture")
    assert steps["reasoning"] is steps["reasoning_content"] is none["reasoning"] is None
    assert steps["safety"] == full["safety"]
    assert none["safety"] == {k: v for k, v in full["safety"].items() if k not in ("steps", "citations")}
    assert full["content"] == steps["content"] == none["content"] == ANSWER


@pytest.mark.parametrize(("shown", "told"), [("full", True), ("steps", False), ("none", False)])
def test_streams_show_no_more_of_the_trace_than_bodies(gateway: Answering, shown: str, told: bool) -> None:
    deltas = [
        chunk["choices"][0]["delta"]
        for chunk in gateway.chunks(ask(stream=True, safety={"trace": shown}))[:-1]
    ]
    assert any("reasoning" in delta for delta in deltas) is told
    assert any("step" in delta.get("safety", {}) for delta in deltas) is (shown != "none")
    assert {"verdict": "comply"} in [delta.get("safety") for delta in deltas]


def test_all_policies_in_brief_stand_before_the_conversation(gateway: Answering) -> None:
    gateway.post(ask("Hello", safety={"policy_in_context": "auto"}))
    system, user = gateway.engines.history[0].call.payload["messages"]
    assert system["role"] == "system"
    assert all(f"P{number:02}" in system["content"] for number in range(1, 21))
    assert user == {"role": "user", "content": "Hello"}


def test_named_policies_stand_in_the_callers_own_system_message(gateway: Answering) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    gateway.post({"messages": messages, "safety": {"policy_in_context": ["P19"]}})
    told = gateway.engines.history[0].call.payload["messages"]
    assert len(told) == 2
    assert "P19.D1" in told[0]["content"]
    assert told[0]["content"].endswith("\n\nBe brief.")


def test_an_unknown_policy_is_refused(gateway: Answering) -> None:
    answer = gateway.post(ask(safety={"policy_in_context": ["P99"]}))
    assert answer.json()["error"]["param"] == "safety.policy_in_context"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 9}, "n"),
        ({"n": 0}, "n"),
        ({"messages": []}, "messages"),
        ({"stream": "yes"}, "stream"),
        ({"safety": {"trace": "some"}}, "safety.trace"),
        ({"safety": {"unknown": 1}}, "safety.unknown"),
        ({"safety": {"mode": "off"}}, "safety.mode"),
        ({"model": "nobody"}, "model"),
        ({"model": 3}, "model"),
    ],
)
def test_mistakes_are_named(gateway: Answering, fields: Json, param: str) -> None:
    answer = gateway.post(ask() | fields)
    assert answer.status_code in (400, 404)
    assert answer.json()["error"]["param"] == param
    assert gateway.engines.history == []


def test_a_model_that_is_not_the_keys_does_not_exist_for_it(gateway: Answering) -> None:
    gateway.caller = Caller("k_1", "one", models=frozenset({BASE}))
    try:
        foreign, unknown = gateway.post(ask()), gateway.post(ask() | {"model": "nobody"})
        own = gateway.post(ask() | {"model": BASE})
    finally:
        gateway.caller = ANONYMOUS
    assert foreign.status_code == unknown.status_code == 404
    message = foreign.json()["error"]["message"].replace("groundrule", "nobody")
    assert message == unknown.json()["error"]["message"]
    assert own.status_code == 200


def test_a_plain_answer_is_asked_for_whole_unless_a_guard_must_be_waited_for(gateway: Answering) -> None:
    gateway.post(ask())
    gateway.chunks(ask(stream=True))
    gateway.post(ask_responses(), "/v1/responses")
    assert [heard.call.whole for heard in gateway.engines.history] == [True, False, True]


def test_our_own_policies_are_not_shown_to_guards() -> None:
    guard = ScriptedGuard(Stage.INPUT, word="policies")
    with answering(guard) as gateway:
        message = gateway.message(safety={"policy_in_context": "auto"})
        assert message["content"] == ANSWER
        assert "policies" in gateway.engines.history[0].call.payload["messages"][0]["content"]
    assert [excerpt.text for excerpt in guard.shown] == ["What is this?"]


def test_text_in_the_templates_variables_is_shown_to_guards(gateway: Answering) -> None:
    message = gateway.message(chat_template_kwargs={"greeting": [f"Say {FORBIDDEN}"]})
    assert message["safety"]["action"] == "withheld"
    assert gateway.engines.history == []
