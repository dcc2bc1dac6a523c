"""Claims about a chat answer, plain and streamed, as callers see it."""

from typing import Any

import pytest

from policies.catalog import load_catalog
from policies.trimming import MAX_TEXT_CHARS
from tests.fakes.scripted_engine import PLAIN_REPLY, Scripted
from tests.serve.gateways import ALIAS, REFUSAL, Gateway, ask


def step(text: str, source: str, clause: str) -> dict[str, Any]:
    return {"text": text, "source": source, "citations": [clause]}


def expected_safety(gateway: Gateway) -> dict[str, Any]:
    catalog = load_catalog()
    cited = [catalog.clause(clause_id) for clause_id in ("P19.D2", "P19.D1", "P19.R3")]
    titles = {clause.id: clause.title for clause in cited if clause}
    return {
        "verdict": "refuse",
        "action": "none",
        "policies": ["P19"],
        "citations": [
            {"clause": "P19.D2", "title": titles["P19.D2"], "valid": True},
            {"clause": "P19.D1", "title": titles["P19.D1"], "valid": True},
            {"clause": "P99.D1", "title": None, "valid": False},
            {"clause": "P19.R3", "title": titles["P19.R3"], "valid": True},
        ],
        "steps": [
            step("The picture shows wires taped to a clock.", "visual", "P19.D2"),
            step("The request asks how to connect them.", "textual", "P19.D1"),
            step("Together they ask for a device that harms people.", "visual+textual", "P99.D1"),
        ],
        "sources": {"visual": 1, "textual": 1, "visual+textual": 1, "untagged": 0},
        "flags": ["invalid_clause"],
        "policy_digest": catalog.digest,
        "adapter": next(iter(gateway.engine.adapters)),
    }


def test_plain_answer_carries_reasoning_content_and_safety(gateway: Gateway) -> None:
    gateway.engine.enqueue(Scripted(REFUSAL))
    body = gateway.post(ask()).json()
    (choice,) = body["choices"]
    message = choice["message"]
    assert body["object"] == "chat.completion"
    assert body["model"] == ALIAS
    assert body["usage"] == {
        "prompt_tokens": 11,
        "completion_tokens": 7,
        "total_tokens": 18,
        "completion_tokens_details": {"reasoning_tokens": 5},
    }
    assert choice["finish_reason"] == "stop"
    assert message["role"] == "assistant"
    assert message["content"].startswith("I can't help with that.")
    assert message["reasoning"] == message["reasoning_content"]
    assert message["reasoning"].startswith("[visual] The picture shows wires")
    assert message["refusal"] is None
    assert message["safety"] == expected_safety(gateway)


def test_stream_carries_steps_then_verdict_then_answer_then_the_whole_object(gateway: Gateway) -> None:
    gateway.engine.enqueue(Scripted(REFUSAL))
    *chunks, done = gateway.events(ask(stream=True))
    assert done == "[DONE]"
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert {chunk["model"] for chunk in chunks} == {ALIAS}
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "content": ""}
    kinds = [next(iter(delta.get("safety", delta))) for delta in deltas[1:]]
    assert list(dict.fromkeys(kinds)) == ["reasoning", "step", "verdict", "content"]
    safety = expected_safety(gateway)
    assert [d["safety"]["step"] for d in deltas if "step" in d.get("safety", {})] == safety["steps"]
    assert deltas[-1]["safety"] == safety
    finishes = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert finishes == [None] * (len(chunks) - 1) + ["stop"]


def test_streamed_text_is_the_plain_text(gateway: Gateway) -> None:
    gateway.engine.enqueue(Scripted(REFUSAL), Scripted(REFUSAL))
    message = gateway.post(ask()).json()["choices"][0]["message"]
    deltas = [c["choices"][0]["delta"] for c in gateway.events(ask(stream=True))[:-1]]
    for field in ("content", "reasoning", "reasoning_content"):
        assert "".join(delta.get(field) or "" for delta in deltas) == message[field]


def test_official_sdk_reads_both(gateway: Gateway) -> None:
    gateway.engine.enqueue(Scripted(REFUSAL), Scripted(REFUSAL))
    completions: Any = gateway.openai.chat.completions
    plain = completions.create(**ask())
    stream = completions.create(**ask(stream=True, stream_options={"include_usage": True}))
    chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert plain.choices[0].message.content == text
    assert plain.choices[0].message.safety == expected_safety(gateway)
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 7


def test_usage_chunk_comes_only_when_asked_for(gateway: Gateway) -> None:
    silent = gateway.events(ask(stream=True))[:-1]
    told = gateway.events(ask(stream=True, stream_options={"include_usage": True}))[:-1]
    assert all(chunk["choices"] for chunk in silent)
    assert told[-1]["choices"] == []
    assert told[-1]["usage"]["total_tokens"] == 18


def test_reply_without_any_trace_is_flagged_and_passed_on(gateway: Gateway) -> None:
    gateway.engine.enqueue(Scripted("Just a cat."), Scripted("Just a cat."))
    message = gateway.post(ask()).json()["choices"][0]["message"]
    deltas = [c["choices"][0]["delta"] for c in gateway.events(ask(stream=True))[:-1]]
    assert message["content"] == "Just a cat."
    assert message["reasoning"] is None
    assert message["safety"]["verdict"] is None
    assert message["safety"]["steps"] == []
    assert {"no_trace", "missing_verdict"} <= set(message["safety"]["flags"])
    assert deltas[-1]["safety"] == message["safety"]


def test_reply_cut_off_while_reasoning_has_no_answer(gateway: Gateway) -> None:
    gateway.engine.enqueue(Scripted("<think>\n[visual] A cat", finish="length"))
    (choice,) = gateway.post(ask()).json()["choices"]
    assert choice["finish_reason"] == "length"
    assert choice["message"]["content"] == ""
    assert "unclosed_reasoning" in choice["message"]["safety"]["flags"]


def test_an_endless_answer_is_cut_where_it_is_held_and_streamed_whole(gateway: Gateway) -> None:
    endless = Scripted(pieces=["<think>\n[visual] A cat.\nVerdict: comply\n</think>\n", *["x" * 400_000] * 3])
    gateway.engine.enqueue(endless, endless)
    message = gateway.post(ask()).json()["choices"][0]["message"]
    deltas = [c["choices"][0]["delta"] for c in gateway.events(ask(stream=True))[:-1]]
    assert len(message["content"]) == MAX_TEXT_CHARS
    assert sum(len(delta.get("content") or "") for delta in deltas) == 1_200_000
    assert message["safety"]["flags"] == deltas[-1]["safety"]["flags"] == ["trace_truncated"]


def test_several_choices_are_read_apart(gateway: Gateway) -> None:
    gateway.engine.enqueue(Scripted(REFUSAL), Scripted(REFUSAL))
    choices = gateway.post(ask(n=3)).json()["choices"]
    streamed = [c["choices"][0] for c in gateway.events(ask(n=3, stream=True))[:-1]]
    assert [choice["index"] for choice in choices] == [0, 1, 2]
    assert all(choice["message"]["safety"] == expected_safety(gateway) for choice in choices)
    assert [c["index"] for c in streamed if c["finish_reason"]] == [0, 1, 2]


def test_too_many_choices_are_refused_by_name(gateway: Gateway) -> None:
    answer = gateway.post(ask(n=9))
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "n"


@pytest.mark.parametrize("stream", [False, True])
def test_engine_gets_unknown_fields_untouched(gateway: Gateway, stream: bool) -> None:
    unknown: dict[str, Any] = {
        "temperature": 0.25,
        "seed": 7,
        "structured_outputs": {"grammar": "x"},
        "new": [1],
    }
    gateway.post(ask(stream=stream, **unknown))
    (asked,) = gateway.engine.history
    assert {key: asked.body[key] for key in unknown} == unknown
    assert asked.body["stream"] is stream
    usage = {"include_usage": True, "continuous_usage_stats": True}
    assert asked.body.get("stream_options") == (usage if stream else None)
    assert asked.body["model"] == next(iter(gateway.engine.adapters))


def test_reasoning_of_an_engine_with_a_parser_is_read_as_well(gateway: Gateway) -> None:
    inside, _, answer = REFUSAL.removeprefix("<think>").partition("</think>")
    gateway.engine.enqueue(Scripted(parsed=(inside, answer)))
    message = gateway.post(ask()).json()["choices"][0]["message"]
    assert message["safety"] == expected_safety(gateway)
    assert message["content"] == answer.strip()


def test_engine_that_ignores_stream_is_read_as_well(gateway: Gateway) -> None:
    gateway.engine.enqueue(Scripted(REFUSAL, ignores_stream=True), Scripted(REFUSAL, ignores_stream=True))
    plain = gateway.post(ask()).json()["choices"][0]["message"]
    *chunks, done = gateway.events(ask(stream=True))
    assert plain["safety"] == expected_safety(gateway)
    assert chunks[-1]["choices"][0]["delta"]["safety"] == plain["safety"]
    assert done == "[DONE]"


def test_tags_in_the_callers_text_mean_nothing(gateway: Gateway) -> None:
    gateway.engine.enqueue(Scripted("No trace here."))
    message = gateway.post(ask(REFUSAL)).json()["choices"][0]["message"]
    assert message["safety"]["verdict"] is None


@pytest.mark.parametrize(
    "forging",
    [
        {"echo": True},
        {"continue_final_message": True},
        {"add_generation_prompt": False},
        {"chat_template": "x"},
    ],
)
def test_fields_that_could_forge_a_trace_are_refused(gateway: Gateway, forging: dict[str, Any]) -> None:
    answer = gateway.post(ask(**forging))
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == next(iter(forging))
    assert gateway.engine.history == []


def test_tool_calls_and_logprobs_are_put_together(gateway: Gateway) -> None:
    call = {"index": 0, "function": {"arguments": "ab"}}
    logprobs = {"content": [{"token": "x", "logprob": -1.0}]}
    gateway.engine.enqueue(
        Scripted(pieces=["", ""], delta_extras={"tool_calls": [call]}, choice_extras={"logprobs": logprobs})
    )
    *chunks, _ = gateway.events(ask(stream=True))
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    (calls,) = [calls for choice in choices if (calls := choice["delta"].get("tool_calls"))]
    assert calls == [{"index": 0, "type": "function", "function": {"arguments": "abab"}}]
    assert not any(choice["delta"].get("content") for choice in choices)
    told = choices[-1]["logprobs"]["content"]
    assert [(one["token"], one["logprob"]) for one in told] == [("x", -1.0)] * 3


def test_base_alias_answers_without_adapter(gateway: Gateway) -> None:
    gateway.engine.enqueue(Scripted(PLAIN_REPLY))
    body = gateway.post(ask() | {"model": "base"}).json()
    assert gateway.engine.history[0].body["model"] == "base"
    assert body["choices"][0]["message"]["safety"]["adapter"] is None
    assert body["model"] == "base"


def test_request_without_model_gets_the_default_alias(gateway: Gateway) -> None:
    body = ask()
    del body["model"]
    assert gateway.post(body).json()["model"] == ALIAS
