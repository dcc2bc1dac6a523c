"""Measured: what the strict trace mode costs in tokens per second, on the same requests in one run."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from align.mini.world import situations
from tests.serve.programs import Program
from tests.serve.questions import asked, create

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1200), pytest.mark.filterwarnings("default")]
REQUESTS = 16
SPLIT = "bench-strict"


def tokens_per_second(program: Program, streams: int, safety: dict[str, Any]) -> float:
    """Generated tokens over wall time, prefill included; temperature 1.0, the same pictures and seeds."""

    def one(numbered: tuple[int, Any]) -> int:
        number, situation = numbered
        fields = {"temperature": 1.0, "seed": number, "max_tokens": 400}
        reply = create(program.gateway, **asked(situation, **fields), extra_body={"safety": safety})
        return int(reply.usage.completion_tokens)

    start = time.perf_counter()
    with ThreadPoolExecutor(streams) as pool:
        generated = sum(pool.map(one, enumerate(situations(SPLIT, REQUESTS))))
    return generated / (time.perf_counter() - start)


def test_strict_mode_is_not_many_times_slower(live_gateway: Program) -> None:
    situation = next(situations(SPLIT, 1))
    for safety in ({}, {"strict": True}, {"strict": True}):
        start = time.perf_counter()
        create(live_gateway.gateway, **asked(situation, max_tokens=8), extra_body={"safety": safety})
        print(f"\nfirst 8 tokens, {safety or 'free'}: {time.perf_counter() - start:.2f} s", end="")
    rates = {
        (name, streams): tokens_per_second(live_gateway, streams, safety)
        for streams in (1, 8)
        for name, safety in (("free", {}), ("strict", {"strict": True}))
    }
    for (name, streams), rate in rates.items():
        print(f"\n{name}, {streams} streams: {rate:.1f} tokens/s", end="")
    for streams in (1, 8):
        assert rates["strict", streams] > rates["free", streams] / 3
