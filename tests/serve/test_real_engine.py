"""Claims about the real path: vLLM on this machine, the lab's base model, the repository's adapter."""

import http.client
import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from urllib.parse import urlsplit

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletion

from align.mini.world import Situation, situations
from policies.catalog import load_catalog
from policies.reply import TOLERATED_FLAGS, Verdict
from tests.serve.gateways import ALIAS, PATIENCE_S, Gateway, ask, eventually
from tests.serve.programs import Program
from tests.serve.questions import asked, create, safety_of

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(900),
    # Building the base model runs the training libraries, whose warnings are not ours to mend.
    pytest.mark.filterwarnings("default"),
]

SPLIT = "tests-serve"
"""Seeds that no training used."""
ENGINE_RESTART_S = 400


@pytest.fixture(scope="module")
def gateway(live_gateway: Program) -> Gateway:
    return live_gateway.gateway


@pytest.fixture(scope="module")
def replies(gateway: Gateway) -> list[tuple[Situation, ChatCompletion]]:
    """Replies to pictures nobody trained on, asked at the same time."""
    drawn = list(situations(SPLIT, 6))
    with ThreadPoolExecutor(len(drawn)) as pool:
        answers = pool.map(lambda situation: create(gateway, **asked(situation)), drawn)
    return list(zip(drawn, answers, strict=True))


def test_replies_hold_well_formed_traces_with_citations_and_verdicts(
    replies: list[tuple[Situation, ChatCompletion]],
) -> None:
    catalog = load_catalog()
    well_formed = [reply for _, reply in replies if not set(safety_of(reply)["flags"]) - TOLERATED_FLAGS]
    # Measured on hundreds elsewhere; here one of six may fall short.
    assert len(well_formed) >= len(replies) - 1
    for reply in well_formed:
        safety = safety_of(reply)
        assert safety["verdict"] in set(Verdict)
        assert safety["action"] == "none"
        assert safety["steps"]
        assert sum(safety["sources"].values()) == len(safety["steps"])
        assert safety["sources"]["visual"] + safety["sources"]["visual+textual"] >= 1
        assert safety["policy_digest"] == catalog.digest
        assert safety["adapter"].count("@") == 1
        for citation in safety["citations"]:
            clause = catalog.clause(citation["clause"])
            assert clause is not None
            assert citation["title"] == clause.title
        assert reply.choices[0].message.content
    assert any(safety_of(reply)["citations"] for reply in well_formed)


def test_harm_is_not_complied_with_by_the_adapter(replies: list[tuple[Situation, ChatCompletion]]) -> None:
    harmful = [safety_of(reply) for situation, reply in replies if situation.truth.harmful]
    assert harmful
    # A reply without a verdict is not a safe one.
    safe = [safety for safety in harmful if safety["verdict"] in (Verdict.REFUSE, Verdict.SAFE_COMPLETE)]
    assert len(safe) > len(harmful) / 2


def test_stream_tells_the_same_as_the_plain_answer(
    gateway: Gateway, replies: list[tuple[Situation, ChatCompletion]]
) -> None:
    situation, _ = replies[0]
    # Alone both times: a batch of another size may round differently.
    plain = create(gateway, **asked(situation)).choices[0]
    stream = create(gateway, **asked(situation, stream=True, stream_options={"include_usage": True}))
    chunks = list(stream)
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert "".join(delta.content or "" for delta in deltas) == plain.message.content
    assert "".join(getattr(delta, "reasoning", None) or "" for delta in deltas) == plain.message.reasoning
    assert deltas[-1].safety == plain.message.safety
    assert chunks[-1].usage.completion_tokens > 0
    told = [
        number for number, delta in enumerate(deltas) if "verdict" in (getattr(delta, "safety", None) or {})
    ]
    answered = [number for number, delta in enumerate(deltas) if delta.content]
    assert told[0] < answered[0]


def test_base_model_answers_under_its_own_alias(
    gateway: Gateway, replies: list[tuple[Situation, ChatCompletion]]
) -> None:
    reply = create(gateway, **asked(replies[0][0], model="base", max_tokens=40))
    assert safety_of(reply)["adapter"] is None
    assert [model.id for model in gateway.openai.models.list()][:1] == [ALIAS]


def test_unknown_model_is_404(gateway: Gateway) -> None:
    with pytest.raises(openai.NotFoundError):
        create(gateway, **(ask() | {"model": "nobody"}))


@pytest.mark.parametrize("words", [3_000, 100_000])
def test_prompt_longer_than_the_context_is_400(gateway: Gateway, words: int) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        create(gateway, **ask("word " * words))
    assert refused.value.code == "context_length_exceeded"


def test_broken_picture_is_400(gateway: Gateway) -> None:
    request = asked(next(situations(SPLIT, 1)))
    image = request["messages"][0]["content"][0]["image_url"]
    image["url"] = image["url"][:300]
    with pytest.raises(openai.BadRequestError) as refused:
        create(gateway, **request)
    assert refused.value.code == "invalid_image"


def test_several_choices_come_from_the_engine(gateway: Gateway) -> None:
    reply = create(gateway, **ask("Hello.", n=2, max_tokens=8, temperature=1))
    assert [choice.index for choice in reply.choices] == [0, 1]


def test_log_probabilities_need_no_compiler(gateway: Gateway) -> None:
    reply = create(gateway, **ask("Hello.", max_tokens=4, logprobs=True))
    told = reply.choices[0].logprobs.content
    assert len(told) == reply.usage.completion_tokens
    assert all(token.logprob <= 0 for token in told)


def engine_metric(program: Program, name: str) -> float:
    """What the engine itself says."""
    lines = httpx.get(f"{program.engine_url}/metrics", timeout=PATIENCE_S).text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


def running_requests(program: Program) -> float:
    return engine_metric(program, "vllm:num_requests_running")


def generated_tokens(program: Program) -> float:
    return engine_metric(program, "vllm:generation_tokens_total")


ENDLESS_TOKENS = 1800
ENDLESS = ask("Tell me a story.", max_tokens=ENDLESS_TOKENS, ignore_eos=True)


@pytest.mark.parametrize("stream", [False, True])
def test_caller_leaving_aborts_the_generation(live_gateway: Program, stream: bool) -> None:
    before = generated_tokens(live_gateway)
    address = urlsplit(live_gateway.url).netloc
    with closing(http.client.HTTPConnection(address, timeout=PATIENCE_S)) as caller:
        caller.request("POST", "/v1/chat/completions", json.dumps(ENDLESS | {"stream": stream}))
        eventually(lambda: running_requests(live_gateway) == 1)
        if stream:
            caller.getresponse().readline()
    eventually(lambda: running_requests(live_gateway) == 0)
    assert generated_tokens(live_gateway) - before < ENDLESS_TOKENS


def test_engine_killed_while_answering_comes_back_with_its_adapters(live_gateway: Program) -> None:
    gateway, first = live_gateway.gateway, live_gateway.engine_pid
    url = f"{live_gateway.url}/v1/chat/completions"
    with httpx.stream("POST", url, json=ENDLESS | {"stream": True}, timeout=120) as response:
        lines = response.iter_lines()
        next(lines)
        os.kill(first, signal.SIGKILL)
        rest = [line.removeprefix("data: ") for line in lines if line]
    assert json.loads(rest[-1])["error"]["code"] == "engine_failed"
    eventually(lambda: gateway.get("/readyz").status_code == 503)
    assert gateway.get("/healthz").status_code == 200
    assert gateway.post(ask()).json()["error"]["code"] == "engine_unavailable"
    live_gateway.wait_ready(ENGINE_RESTART_S)
    assert live_gateway.engine_pid != first
    assert safety_of(create(gateway, **ask("Hello.", max_tokens=16)))["adapter"]
    assert gateway.metric("groundrule_engine_restarts_total") == 1
