"""Claims about how engines other than vLLM are asked, and what they are never asked."""

from typing import Any

import pytest

from serve.engine.kinds import KINDS
from serve.errors import UnsupportedParameter
from serve.options.engine import EngineKind

MESSAGES = [{"role": "user", "content": "What is this?"}]
GRAMMAR = {"structured_outputs": {"grammar": 'root ::= "x"'}}


def shaped(kind: str, **fields: Any) -> dict[str, Any]:
    return KINDS[EngineKind(kind)].shape({"messages": MESSAGES, **fields})


@pytest.mark.parametrize("kind", list(EngineKind))
def test_the_request_itself_is_left_as_it_is(kind: EngineKind) -> None:
    payload = {"messages": MESSAGES, "max_completion_tokens": 5, "n": 1, **GRAMMAR}
    if kind is EngineKind.TRANSFORMERS:
        del payload["structured_outputs"]
    before = dict(payload)
    KINDS[kind].shape(payload)
    assert payload == before


def test_vllm_gets_every_field_as_it_came() -> None:
    fields = {"temperature": 0, "top_k": 3, "n": 4, **GRAMMAR}
    assert shaped("vllm", **fields) == {"messages": MESSAGES, **fields}


def test_a_grammar_is_spelled_as_each_engine_spells_it() -> None:
    assert shaped("vllm-0.10", **GRAMMAR) == {"messages": MESSAGES, "guided_grammar": 'root ::= "x"'}
    assert shaped("sglang", **GRAMMAR) == {"messages": MESSAGES, "ebnf": 'root ::= "x"'}
    schema = {"type": "object"}
    asked = shaped("sglang", structured_outputs={"json": schema})
    assert asked["response_format"]["json_schema"]["schema"] == schema
    assert shaped("vllm-0.10", structured_outputs={"json": schema})["guided_json"] == schema


@pytest.mark.parametrize(
    ("kind", "fields", "named"),
    [
        ("vllm-0.10", {"structured_outputs": {"structural_tag": "x"}}, "structured_outputs.structural_tag"),
        ("sglang", {"structured_outputs": {"choice": ["a", "b"]}}, "structured_outputs.choice"),
        ("sglang", {"guided_json": {}}, "guided_json"),
        ("sglang", {"bad_words": ["x"]}, "bad_words"),
        ("transformers", GRAMMAR, "structured_outputs"),
        ("transformers", {"n": 2}, "n"),
        ("transformers", {"logprobs": True}, "logprobs"),
        ("transformers", {"response_format": {"type": "json_object"}}, "response_format"),
        ("transformers", {"tool_choice": "none"}, "tool_choice"),
        ("transformers", {"parallel_tool_calls": False}, "parallel_tool_calls"),
        ("transformers", {"presence_penalty": 0.5}, "presence_penalty"),
        ("transformers", {"reasoning_effort": "low"}, "reasoning_effort"),
        ("transformers", {"generation_config": "{}"}, "generation_config"),
        ("transformers", {"stop": ["x"]}, "stop"),
        ("transformers", {"top_k": 3}, "top_k"),
    ],
)
def test_what_an_engine_does_not_take_is_refused_by_name(
    kind: str, fields: dict[str, Any], named: str
) -> None:
    with pytest.raises(UnsupportedParameter, match=named) as refusal:
        shaped(kind, **fields)
    assert refusal.value.param == named
    assert refusal.value.status == 400


def test_values_that_change_nothing_are_no_reason_to_refuse() -> None:
    harmless = {
        "n": 1,
        "logprobs": False,
        "top_logprobs": 0,
        "response_format": {"type": "text"},
        "tool_choice": "auto",
        "presence_penalty": 0,
        "store": False,
        "user": "somebody",
        "metadata": {"a": "b"},
        "top_k": None,
    }
    assert shaped("transformers", temperature=0, **harmless) == {"messages": MESSAGES, "temperature": 0}
    assert shaped("sglang", use_beam_search=False, guided_json=None)["messages"] == MESSAGES


def test_the_limit_of_tokens_is_said_in_the_word_that_transformers_reads() -> None:
    assert shaped("transformers", max_completion_tokens=7)["max_tokens"] == 7
    assert shaped("transformers", max_completion_tokens=7, max_tokens=5)["max_tokens"] == 5


def test_who_answers_and_how_is_never_the_callers_word() -> None:
    for kind in EngineKind:
        forged = shaped(kind, model="other", stream=False, stream_options={"include_usage": False})
        assert forged == {"messages": MESSAGES}


def test_each_engine_is_told_of_an_adapter_in_its_own_way() -> None:
    named = {kind: KINDS[kind].address("base", "pst@0123456789ab") for kind in KINDS}
    assert named[EngineKind.VLLM] == {"model": "pst@0123456789ab"}
    assert named[EngineKind.SGLANG] == {"model": "base", "lora_path": "pst@0123456789ab"}
    assert KINDS[EngineKind.SGLANG].address("base", None) == {"model": "base"}


def test_a_stream_is_asked_to_count_its_tokens_where_the_engine_can() -> None:
    asked = {kind: KINDS[kind].head("base", None, streams=True) for kind in KINDS}
    assert asked[EngineKind.VLLM]["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}
    assert "stream_options" not in asked[EngineKind.TRANSFORMERS]
    assert KINDS[EngineKind.VLLM].head("base", None, streams=False) == {"model": "base", "stream": False}
