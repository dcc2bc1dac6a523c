"""Claims about what a caller sees of a block: plain, streamed, and through the official SDK."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from openai import ContentFilterFinishReasonError

from serve.errors import EngineFailed, LedgerFull
from serve.gate.guard import GuardFailed
from serve.gate.values import Stage
from serve.gate.wording import REPLACED, WITHHELD
from serve.ledger.interaction import Scanned
from tests.serve.answering import (
    ANSWER,
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
from tests.serve.gateways import REFUSAL, eventually

WHERE = ["in the answer", "in the reasoning", "all of it"]
IN_ANSWER = TRACE + "It is nice. " * 30 + FORBIDDEN + " and more" * 40
IN_REASONING = f"<think>\n[visual] A cat.\n[textual] A {FORBIDDEN} here.\nVerdict: comply\n</think>\n{ANSWER}"
COMPLIES = REFUSAL.partition("</think>")[0] + "</think>\nSure! Here is how: first, do this."


@pytest.fixture(scope="module")
def running() -> Iterator[Answering]:
    with answering() as gateway:
        yield gateway


@pytest.fixture
def gateway(running: Answering) -> Answering:
    running.forget()
    return running


def delta_text(chunks: list[Any], name: str) -> str:
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks[:-1] if chunk["choices"]]
    return "".join(delta.get(name) or "" for delta in deltas)


def finishes(chunks: list[Any]) -> list[str]:
    choices = [choice for chunk in chunks[:-1] for choice in chunk["choices"]]
    return [choice["finish_reason"] for choice in choices if choice["finish_reason"]]


@pytest.mark.parametrize(
    "said", [IN_ANSWER, IN_REASONING, FORBIDDEN], ids=["answer", "reasoning", "no trace"]
)
def test_a_block_is_200_and_content_filter_plain_and_streamed(gateway: Answering, said: str) -> None:
    gateway.say(Said(said), Said(said))
    answer = gateway.post(ask())
    (choice,) = answer.json()["choices"]
    chunks = gateway.chunks(ask(stream=True))
    assert answer.status_code == 200
    assert choice["finish_reason"] == "content_filter"
    assert choice["message"]["refusal"] == WITHHELD == delta_text(chunks, "refusal")
    assert choice["message"]["safety"]["action"] == "withheld"
    assert finishes(chunks) == ["content_filter"]
    assert chunks[-1] == "[DONE]"
    assert FORBIDDEN not in answer.text + str(chunks)


def test_what_was_released_before_a_block_stays_and_nothing_follows(gateway: Answering) -> None:
    gateway.say(Said(IN_ANSWER))
    chunks = gateway.chunks(ask(stream=True))
    content = delta_text(chunks, "content")
    assert content
    assert IN_ANSWER.partition("</think>\n")[2].startswith(content)
    assert len(content) <= IN_ANSWER.index(FORBIDDEN)
    kinds = [name for chunk in chunks[:-1] for name in chunk["choices"][0]["delta"]]
    assert kinds[-2:] == ["refusal", "safety"]


def test_a_plain_body_holds_nothing_that_a_stream_would_not(gateway: Answering) -> None:
    gateway.say(Said(IN_ANSWER), Said(IN_ANSWER))
    message = gateway.message()
    chunks = gateway.chunks(ask(stream=True))
    assert (message["content"] or "") in delta_text(chunks, "content")
    assert message["reasoning"] == delta_text(chunks, "reasoning")
    assert chunks[-2]["choices"][0]["delta"]["safety"] == message["safety"]


def test_a_reply_that_refuses_and_complies_is_replaced(gateway: Answering) -> None:
    gateway.say(Said(COMPLIES), Said(COMPLIES))
    message = gateway.message()
    chunks = gateway.chunks(ask(stream=True))
    assert message["content"] is None
    assert message["refusal"] == REPLACED == delta_text(chunks, "refusal")
    assert delta_text(chunks, "content") == ""
    assert message["safety"]["action"] == "replaced"
    assert message["safety"]["verdict"] == "refuse"


def test_blocked_and_guard_down_look_the_same() -> None:
    seen: list[Any] = []
    guard = ScriptedGuard(Stage.ANSWER)
    with answering(guard, stages=()) as gateway:
        for error in (None, GuardFailed("unreadable"), GuardFailed("gone", is_gone=True)):
            guard.error = error
            gateway.say(Said(TRACE + FORBIDDEN), Said(TRACE + FORBIDDEN), Said(TRACE + FORBIDDEN))
            plain = gateway.post(ask())
            seen.append((plain.status_code, sorted(plain.headers), without_ids(plain.json())))
            seen[-1] += (without_ids(gateway.chunks(ask(stream=True))),)
            seen[-1] += (without_ids(gateway.events(ask_responses(stream=True))),)
    guard = ScriptedGuard(Stage.ANSWER, takes_s=30)
    with answering(guard, stages=(), deadline_s=0.05) as gateway:
        gateway.say(Said(TRACE + FORBIDDEN), Said(TRACE + FORBIDDEN), Said(TRACE + FORBIDDEN))
        plain = gateway.post(ask())
        late = (plain.status_code, sorted(plain.headers), without_ids(plain.json()))
        late += (without_ids(gateway.chunks(ask(stream=True))),)
        seen.append((*late, without_ids(gateway.events(ask_responses(stream=True)))))
    assert WITHHELD in str(seen[0])
    assert seen == [seen[0]] * 4


def without_ids(told: Any) -> Any:
    """Everything but ids and times."""
    if isinstance(told, list):
        return [without_ids(one) for one in told]
    if isinstance(told, dict):
        left_out = ("id", "item_id", "created", "created_at")
        return {name: without_ids(value) for name, value in told.items() if name not in left_out}
    return told


def test_safety_of_a_block_tells_nothing_that_was_withheld(gateway: Answering) -> None:
    last_step = "[visual+textual] It is " + FORBIDDEN + ". [P19.D2]"
    steps = f"[visual] A cat. [P77.D1]\n[textual] A question.\n{last_step}"
    said = f"<think>\n{steps}\nVerdict: refuse [P19.R3]\n</think>\nNo."
    gateway.say(Said(said))
    chunks = gateway.chunks(ask(stream=True))
    safety = chunks[-2]["choices"][0]["delta"]["safety"]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks[:-1]]
    told = [delta["safety"]["step"] for delta in deltas if "step" in delta.get("safety", {})]
    assert safety["verdict"] is None
    assert safety["steps"] == told
    assert [step["text"] for step in told] == ["A cat.", "A question."]
    assert [one["clause"] for one in safety["citations"]] == ["P77.D1"]
    assert safety["sources"] == {"visual": 1, "textual": 1, "visual+textual": 0, "untagged": 0}
    assert safety["flags"] == ["invalid_clause"]


def test_one_blocked_choice_leaves_the_others_alone(gateway: Answering) -> None:
    texts = (TRACE + ANSWER, IN_ANSWER, TRACE + "A dog.")
    gateway.say(Said(texts=texts), Said(texts=texts))
    choices = gateway.post(ask(n=3)).json()["choices"]
    assert [choice["finish_reason"] for choice in choices] == ["stop", "content_filter", "stop"]
    assert [choice["message"]["refusal"] for choice in choices] == [None, WITHHELD, None]
    assert [choices[n]["message"]["content"] for n in (0, 2)] == [ANSWER, "A dog."]
    streamed = [choice for chunk in gateway.chunks(ask(n=3, stream=True))[:-1] for choice in chunk["choices"]]
    for index, wanted in ((0, ANSWER), (2, "A dog.")):
        told = [choice["delta"].get("content") or "" for choice in streamed if choice["index"] == index]
        assert "".join(told) == wanted
    assert not gateway.engines.history[1].was_cut_off


def test_all_choices_blocked_aborts_the_engine(gateway: Answering) -> None:
    endless = IN_ANSWER + " more" * 5000
    gateway.say(Said(texts=[endless, endless]))
    chunks = gateway.chunks(ask(n=2, stream=True))
    (heard,) = gateway.engines.history
    assert finishes(chunks) == ["content_filter"] * 2
    assert heard.was_cut_off
    assert heard.reads < 400


def test_a_forbidden_input_is_answered_alike_and_never_asked(gateway: Answering) -> None:
    for body in (ask(FORBIDDEN), ask(safety={"trace": "none"}) | {"messages": earlier_turn()}):
        gateway.forget()
        message = gateway.post(body).json()["choices"][0]["message"]
        chunks = gateway.chunks(body | {"stream": True})
        assert gateway.engines.history == []
        assert (message["content"], message["reasoning"], message["refusal"]) == (None, None, WITHHELD)
        assert delta_text(chunks, "refusal") == WITHHELD
        eventually(lambda: len(gateway.ledger.rows) > 1)
        assert {row.outcome for row in gateway.ledger.rows} == {"ok"}


def earlier_turn() -> list[Json]:
    """The word in a tool's result."""
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    return [
        {"role": "user", "content": "Look it up."},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": f"It says {FORBIDDEN}."},
        {"role": "user", "content": "So?"},
    ]


def test_nothing_leaves_before_a_slow_input_guard_has_ruled_and_the_engine_works_meanwhile() -> None:
    guard = ScriptedGuard(Stage.INPUT, takes_s=0.6)
    with answering(guard) as gateway:
        began = time.monotonic()
        with httpx.stream("POST", f"{gateway.url}/v1/chat/completions", json=ask(stream=True)) as response:
            first = time.monotonic() - began
            reads_at_first_byte = gateway.engines.history[0].reads
            response.read()
        assert first >= 0.6
        assert reads_at_first_byte > 10
        guard.shown.clear()
        gateway.chunks(ask(stream=True))
        assert guard.shown == [], "what passed once is not judged again"


def test_a_slow_input_guard_that_blocks_ends_the_engines_call() -> None:
    with answering(ScriptedGuard(Stage.INPUT, word="secret", takes_s=0.3)) as gateway:
        gateway.say(Said(stalls_after=3))
        message = gateway.message(messages=[{"role": "user", "content": "a secret"}])
        assert (message["content"], message["reasoning"], message["refusal"]) == (None, None, WITHHELD)
        assert gateway.engines.history[0].was_cut_off
        assert [(run.guard, run.stage, run.status) for run in gateway.row.guards][-1] == (
            "scripted",
            "input",
            "blocked",
        )


def test_a_slow_guard_on_the_answer_holds_it_and_nothing_else() -> None:
    guard = ScriptedGuard(Stage.ANSWER, takes_s=0.5)
    with answering(guard) as gateway:
        gateway.say(Said(per_read=1000))
        with httpx.stream("POST", f"{gateway.url}/v1/chat/completions", json=ask(stream=True)) as response:
            told = [(time.monotonic(), piece) for piece in response.iter_bytes()]
    arrived = [at for at, piece in told if b"reasoning" in piece]
    answered = [at for at, piece in told if b'"content":"A cat' in piece]
    assert answered[0] - arrived[0] > 0.4
    assert guard.shown


def test_an_engine_that_fails_after_the_first_byte_says_so_last(gateway: Answering) -> None:
    gateway.say(Said(dies_after=14, error=EngineFailed("it broke; try again")))
    chunks = gateway.chunks(ask(stream=True))
    assert chunks[-1]["error"]["code"] == "engine_failed"
    assert "[DONE]" not in chunks
    assert delta_text(chunks[:-1], "content") == ""
    assert (gateway.row.status, gateway.row.outcome) == (200, "engine_failed")


@pytest.mark.parametrize("stream", [False, True])
def test_a_failure_before_the_first_release_is_a_status(gateway: Answering, stream: bool) -> None:
    gateway.say(Said(dies_after=1, error=EngineFailed("it broke; try again"), every=5))
    body = ask(stream=stream)
    answer = gateway.post(body)
    if stream:
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/json"
        assert gateway.row.outcome == "engine_failed"
    else:
        assert answer.status_code == 200, "a whole body comes in one read"


def test_a_bug_of_ours_is_told_last_and_in_the_audit(gateway: Answering) -> None:
    gateway.say(Said(dies_after=14, error=ZeroDivisionError()))
    chunks = gateway.chunks(ask(stream=True))
    assert chunks[-1]["error"]["code"] == "internal_error"
    assert (gateway.row.status, gateway.row.outcome) == (200, "internal_error")


def test_no_request_is_answered_that_could_not_be_audited(gateway: Answering) -> None:
    gateway.ledger.refusal = LedgerFull("no row can be kept; try later")
    try:
        answer = gateway.post(ask())
    finally:
        gateway.ledger.refusal = None
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "audit_unavailable"
    assert gateway.engines.history == []


def test_a_reply_without_an_end_has_broken_off(gateway: Answering) -> None:
    gateway.say(Said(finish=None), Said(finish=None))
    assert gateway.post(ask()).json()["error"]["code"] == "engine_failed"
    assert gateway.chunks(ask(stream=True))[-1]["error"]["code"] == "engine_failed"


@pytest.mark.parametrize("stream", [False, True])
def test_a_caller_who_leaves_ends_the_generation_and_is_told_of_once(
    gateway: Answering, stream: bool
) -> None:
    gateway.say(Said(stalls_after=0 if not stream else 12))
    with httpx.Client() as client:
        request = client.build_request(
            "POST", f"{gateway.url}/v1/chat/completions", json=ask(stream=stream), timeout=0.7
        )
        with pytest.raises(httpx.ReadTimeout):
            client.send(request)
    eventually(lambda: gateway.ledger.rows)
    assert gateway.engines.history[0].was_cut_off
    assert gateway.row.outcome == "aborted"
    assert gateway.row.status == (200 if stream else 499)


@pytest.mark.parametrize(
    "extras",
    [
        {"thinking": FORBIDDEN},
        {"audio": {"transcript": FORBIDDEN}},
        {"function_call": {"name": FORBIDDEN, "arguments": ""}},
        {"annotations": [{"text": FORBIDDEN}]},
        {"reasoning_details": [{"text": FORBIDDEN}]},
        {"content": [{"type": "text", "text": FORBIDDEN}]},
        {"refusal": FORBIDDEN},
        {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": FORBIDDEN}}]},
        {"tool_calls": [{"index": 0, "id": FORBIDDEN, "function": {"name": "f"}}]},
        {"tool_calls": [{"index": 0, "function": {"name": FORBIDDEN}}]},
        {"tool_calls": [{"index": 0, "custom": {"input": FORBIDDEN}}]},
    ],
    ids=str,
)
def test_whatever_the_engine_calls_it_unscanned_text_does_not_leave(gateway: Answering, extras: Json) -> None:
    gateway.say(Said(delta_extras=extras), Said(delta_extras=extras), Said(delta_extras=extras))
    told = [gateway.post(ask()).text, str(gateway.chunks(ask(stream=True)))]
    told.append(gateway.post(ask_responses(), "/v1/responses").text)
    assert FORBIDDEN not in "".join(told)


@pytest.mark.parametrize(
    "extras",
    [
        {"stop_reason": FORBIDDEN},
        {"token_ids": [FORBIDDEN]},
        {"finish_reason": FORBIDDEN},
        {"logprobs": {"content": [{"token": "a", "logprob": -1, "top_logprobs": [{"token": FORBIDDEN}]}]}},
        {"logprobs": {"content": [{"token": "a", "logprob": -1, "note": FORBIDDEN}], "note": FORBIDDEN}},
    ],
    ids=str,
)
def test_nothing_beside_a_delta_carries_text_out(gateway: Answering, extras: Json) -> None:
    gateway.say(Said(choice_extras=extras), Said(choice_extras=extras))
    assert FORBIDDEN not in gateway.post(ask()).text + str(gateway.chunks(ask(stream=True)))


@pytest.mark.parametrize("stream", [False, True])
def test_what_cannot_be_read_is_no_reply(gateway: Answering, stream: bool) -> None:
    for extras in ({"index": 1}, {"index": "0"}, {"index": True}, {"delta": [1]}):
        gateway.forget()
        gateway.say(Said(choice_extras=extras))
        answer = gateway.post(ask(stream=stream))
        assert answer.status_code == 503, extras
        assert answer.json()["error"]["code"] == "engine_failed"


def test_observing_changes_nothing_and_the_audit_tells_what_would_have_been() -> None:
    guard = ScriptedGuard(Stage.ANSWER, takes_s=0.3)
    with answering(guard, mode="observe") as gateway:
        gateway.say(Said(IN_ANSWER), Said(TRACE + FORBIDDEN, per_read=1000))
        assert FORBIDDEN in gateway.message()["content"]
        began = time.monotonic()
        chunks = gateway.chunks(ask(stream=True))
        assert delta_text(chunks, "content") == FORBIDDEN
        assert time.monotonic() - began < 30
        eventually(lambda: len(gateway.ledger.rows) == 2)
    choices = [row.choices[0] for row in gateway.ledger.rows]
    assert [(choice.action, choice.would) for choice in choices] == [("none", "withheld")] * 2


def test_the_audit_row_of_a_block_tells_what_was_generated_and_what_left(gateway: Answering) -> None:
    gateway.say(Said(IN_ANSWER))
    chunks = gateway.chunks(ask(stream=True))
    (choice,) = gateway.row.choices
    assert (choice.action, choice.finish, choice.verdict) == ("withheld", "content_filter", "comply")
    scanned = choice.scanned["answer"]
    assert isinstance(scanned, Scanned)
    assert scanned.released == len(delta_text(chunks, "content")) <= scanned.examined < scanned.generated
    assert gateway.row.mode == "enforce"
    assert gateway.row.content is None


def test_content_is_kept_only_where_the_operator_wants_it() -> None:
    with answering(keeps_content=True) as gateway:
        gateway.say(Said(IN_ANSWER))
        gateway.post(ask("Hello there"))
        content = gateway.row.content
        assert content
        assert content.messages == {"messages": [{"role": "user", "content": "Hello there"}]}
        assert FORBIDDEN not in content.replies[0]


@pytest.mark.parametrize("said", [IN_ANSWER, IN_REASONING, COMPLIES], ids=WHERE)
def test_the_official_sdk_reads_a_block_and_does_not_retry(gateway: Answering, said: str) -> None:
    gateway.say(*[Said(said)] * 3)
    completions: Any = gateway.openai.with_options(max_retries=2).chat.completions
    plain = completions.create(**ask()).choices[0]
    chunks = list(completions.create(**ask(stream=True)))
    with completions.stream(**ask()) as stream:
        events = list(stream)
        final = stream.current_completion_snapshot.choices[0]
        # Its own way of saying so: it raises for every reply that a content filter ended.
        with pytest.raises(ContentFilterFinishReasonError):
            stream.get_final_completion()
    assert len(gateway.engines.history) == 3
    for last in (plain, chunks[-1].choices[0], final):
        assert last.finish_reason == "content_filter"
    refusal = "".join(chunk.choices[0].delta.refusal or "" for chunk in chunks)
    assert plain.message.refusal == refusal == final.message.refusal
    assert [event.refusal for event in events if event.type == "refusal.done"] == [refusal]
    assert FORBIDDEN not in f"{plain} {chunks} {final}"


def test_the_official_sdk_reads_a_reply_that_passed(gateway: Answering) -> None:
    completions: Any = gateway.openai.chat.completions
    with completions.stream(**ask(stream_options={"include_usage": True})) as stream:
        final = stream.get_final_completion()
    plain = completions.create(**ask())
    for told in (plain, final):
        assert told.choices[0].message.content == ANSWER
        assert told.choices[0].message.reasoning.startswith("[visual] The picture")
        assert told.usage.completion_tokens_details.reasoning_tokens == 17
