"""Claims about the strict trace mode on real vLLM, sampled at temperature 1.0, where a model strays most."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from openai.types.chat import ChatCompletion

from align.mini.world import Situation, situations
from policies.catalog import load_catalog
from policies.formats import THINK
from policies.reply import TOLERATED_FLAGS
from policies.trace import read
from tests.serve.programs import Program
from tests.serve.questions import asked, create, safety_of

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900), pytest.mark.filterwarnings("default")]

SPLIT = "tests-strict"
SAMPLES = 100
STREAMS = 16
CATALOG = load_catalog()
FAR_POLICY = "P13"
"""No situation of the lab is about it."""


def sampled(program: Program, model: str, count: int, **safety: Any) -> list[ChatCompletion]:
    def one(numbered: tuple[int, Situation]) -> ChatCompletion:
        number, situation = numbered
        fields = {"model": model, "temperature": 1.0, "seed": number, "max_tokens": 1500}
        reply: ChatCompletion = create(
            program.gateway, **asked(situation, **fields), extra_body={"safety": {"strict": True, **safety}}
        )
        return reply

    with ThreadPoolExecutor(STREAMS) as pool:
        return list(pool.map(one, enumerate(situations(SPLIT, count))))


def assert_complete(replies: list[ChatCompletion], citable: set[str]) -> None:
    for reply in replies:
        safety = safety_of(reply)
        assert not set(safety["flags"]) - TOLERATED_FLAGS, safety
        assert safety["verdict"]
        assert {citation["clause"] for citation in safety["citations"]} <= citable
        assert all(citation["valid"] for citation in safety["citations"])
        # One that decides to refuse and then complies, as the unaligned base does, gets no further than that.
        contradicts = safety["verdict"] == "refuse" and safety["action"] != "none"
        assert contradicts or reply.choices[0].message.content


def test_a_hundred_of_a_hundred_strict_replies_parse_and_cite_existing_clauses(live_gateway: Program) -> None:
    replies = sampled(live_gateway, "groundrule", SAMPLES)
    assert len(replies) == SAMPLES
    assert_complete(replies, set(CATALOG.citable))
    assert any(safety_of(reply)["citations"] for reply in replies)


def test_strict_binds_even_a_model_that_never_learned_the_grammar(live_gateway: Program) -> None:
    """The unaligned base, sampled: only the engine's constraint can make these traces."""
    replies = sampled(live_gateway, "base", 8)
    assert_complete(replies, set(CATALOG.citable))


def test_strict_replies_cite_no_policy_but_those_named(live_gateway: Program) -> None:
    replies = sampled(live_gateway, "groundrule", 8, policies=[FAR_POLICY])
    assert_complete(replies, set(CATALOG.citable_of([FAR_POLICY])))


def test_a_strict_stream_reads_as_the_plain_reply_does(live_gateway: Program) -> None:
    situation = next(situations(SPLIT, 1))
    options: dict[str, Any] = {"extra_body": {"safety": {"strict": True}}}
    plain = create(live_gateway.gateway, **asked(situation), **options)
    chunks = list(create(live_gateway.gateway, **asked(situation, stream=True), **options))
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert deltas[-1].safety == safety_of(plain)
    reasoning = "".join(getattr(delta, "reasoning", None) or "" for delta in deltas)
    answer = "".join(delta.content or "" for delta in deltas)
    assert read(f"<think>\n{reasoning}\n</think>\n{answer}", THINK, CATALOG.citable).well_formed
