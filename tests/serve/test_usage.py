"""Claims about token counts: six ways for a reply to end, and whoever counted."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from serve.errors import EngineFailed
from tests.serve.answering import ANSWER, FORBIDDEN, TRACE, USAGE, Answering, Said, answering, ask
from tests.serve.gateways import eventually


@pytest.fixture(scope="module")
def running() -> Iterator[Answering]:
    with answering() as gateway:
        yield gateway


@pytest.fixture
def gateway(running: Answering) -> Answering:
    running.forget()
    return running


def counted(gateway: Answering) -> tuple[Any, ...]:
    row = gateway.row
    return row.prompt_tokens, row.completion_tokens, row.tokens_counted_by


WITH_TELLING = {"stream": True, "stream_options": {"include_usage": True}}


def test_a_finished_reply_has_the_engines_count(gateway: Answering) -> None:
    gateway.chunks(ask(stream=True))
    assert counted(gateway) == (11, 20, "engine")
    assert gateway.door.places[0].used_tokens == 31


def test_a_plain_reply_has_the_engines_count(gateway: Answering) -> None:
    told = gateway.post(ask()).json()["usage"]
    assert {name: told[name] for name in USAGE} == USAGE
    assert counted(gateway) == (11, 20, "engine")


@pytest.mark.parametrize("finish", ["length", "tool_calls"])
def test_a_running_count_stands_in_where_no_sum_came(gateway: Answering, finish: str) -> None:
    gateway.say(Said(every=10, running_usage=True, usage=None, finish=finish))
    usage = gateway.chunks(ask(**WITH_TELLING))[-2]["usage"]
    pieces = -(-len(TRACE + ANSWER) // 10)
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (11, pieces)
    assert usage["total_tokens"] == 11 + pieces
    assert counted(gateway) == (11, pieces, "engine")


def test_running_counts_of_several_choices_are_added(gateway: Answering) -> None:
    gateway.say(Said(every=10, running_usage=True, usage=None))
    gateway.chunks(ask(n=3, stream=True))
    assert counted(gateway) == (11, 3 * -(-len(TRACE + ANSWER) // 10), "engine")


def test_a_blocked_reply_counts_what_was_generated_until_then(gateway: Answering) -> None:
    text = TRACE + FORBIDDEN + " and so on" * 500
    gateway.say(Said(text, every=10, running_usage=True))
    usage = gateway.chunks(ask(**WITH_TELLING))[-2]["usage"]
    assert len(TRACE + FORBIDDEN) // 10 <= usage["completion_tokens"] < len(text) // 10
    assert gateway.row.completion_tokens == usage["completion_tokens"]


def test_a_caller_who_left_is_counted_for_what_was_generated(gateway: Answering) -> None:
    gateway.say(Said(every=10, running_usage=True, stalls_after=9))
    with httpx.stream("POST", f"{gateway.url}/v1/chat/completions", json=ask(stream=True)) as response:
        next(response.iter_bytes())
        eventually(lambda: gateway.engines.history[0].reads == 9)
    assert counted(gateway) == (11, 9, "engine")
    assert gateway.row.outcome == "aborted"


def test_a_reply_that_broke_off_is_counted_as_far_as_it_came(gateway: Answering) -> None:
    gateway.say(Said(every=10, running_usage=True, dies_after=12, error=EngineFailed("it died")))
    gateway.chunks(ask(stream=True))
    assert counted(gateway) == (11, 12, "engine")
    assert gateway.row.outcome == "engine_failed"


def test_an_engine_that_tells_nothing_is_counted_here_and_the_caller_told_nothing(gateway: Answering) -> None:
    gateway.say(Said(every=10, usage=None))
    assert gateway.chunks(ask(**WITH_TELLING))[-2]["usage"] is None
    assert counted(gateway) == (None, -(-len(TRACE + ANSWER) // 10), "gateway")


def test_a_request_that_never_began_used_nothing(gateway: Answering) -> None:
    gateway.say(Said(refuses=EngineFailed("not today")))
    assert gateway.post(ask()).status_code == 503
    assert counted(gateway) == (None, None, None)
    assert gateway.door.places[0].used_tokens == 0


def test_reasoning_has_its_share_of_the_text(gateway: Answering) -> None:
    reasoning = "[visual] " + "x" * 191 + "\nVerdict: comply"
    text = f"<think>\n{reasoning}\n</think>\n" + "y" * len(reasoning)
    gateway.say(Said(text), Said(text))
    plain = gateway.post(ask()).json()["usage"]
    streamed = gateway.chunks(ask(**WITH_TELLING))[-2]["usage"]
    assert (
        plain["completion_tokens_details"]
        == streamed["completion_tokens_details"]
        == {"reasoning_tokens": 10}
    )


def test_an_engine_that_reads_reasoning_knows_better(gateway: Answering) -> None:
    gateway.say(Said(usage={**USAGE, "completion_tokens_details": {"reasoning_tokens": 3, "note": "text"}}))
    told = gateway.post(ask()).json()["usage"]
    assert told["completion_tokens_details"] == {"reasoning_tokens": 3}


def test_nothing_but_numbers_of_an_engines_usage_is_passed_on(gateway: Answering) -> None:
    details = {"cached_tokens": 4, "note": FORBIDDEN}
    gateway.say(Said(usage={**USAGE, "note": FORBIDDEN, "prompt_tokens_details": details}))
    told = gateway.post(ask()).json()["usage"]
    assert told["prompt_tokens_details"] == {"cached_tokens": 4}
    assert FORBIDDEN not in str(told)


def test_times_add_up(gateway: Answering) -> None:
    began = time.time()
    gateway.say(Said(pause_s=0.01))
    gateway.chunks(ask(stream=True))
    row = gateway.row
    assert began - 1 <= row.at <= time.time()
    assert 0 < (row.first_token_s or 0) <= row.duration_s
    assert 0 <= row.overhead_s < row.duration_s - 0.1
