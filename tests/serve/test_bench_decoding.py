"""Measured: tokens per second through the gateway, with and without the adapter, alone and in company."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.serve.gateways import ALIAS, Gateway, ask
from tests.serve.programs import Program

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900), pytest.mark.filterwarnings("default")]
TOKENS = 96


def tokens_per_second(gateway: Gateway, model: str, streams: int) -> float:
    """Generated tokens over wall time, prefill included; every reply runs to its token limit."""

    def one(number: int) -> int:
        request = ask(
            f"Tell me about the number {number}.", max_tokens=TOKENS, extra_body={"ignore_eos": True}
        ) | {"model": model}
        reply = gateway.openai.with_options(timeout=600).chat.completions.create(**request)
        return int(reply.usage.completion_tokens)

    start = time.perf_counter()
    with ThreadPoolExecutor(streams) as pool:
        generated = sum(pool.map(one, range(streams)))
    return generated / (time.perf_counter() - start)


def test_decoding_speed(live_gateway: Program) -> None:
    gateway = live_gateway.gateway
    for model in ("base", ALIAS):
        tokens_per_second(gateway, model, 1)
    rates = {
        (model, streams): tokens_per_second(gateway, model, streams)
        for model in ("base", ALIAS)
        for streams in (1, 8)
    }
    for (model, streams), rate in rates.items():
        print(f"\n{model}, {streams} streams: {rate:.1f} tokens/s", end="")
    assert rates[ALIAS, 8] > rates[ALIAS, 1]
