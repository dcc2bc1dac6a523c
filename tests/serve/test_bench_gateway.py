"""Measured: what the gateway costs beside what others offer, in one run on the same scripted engine.

The numbers go to `runs/bench`, and from there into docs/performance.md (`python -m tests.serve.bench.page`).
`BENCH_SECONDS` is how long a cell takes on average. Less than usual is a rehearsal, which shows that all
works: one round, whatever else the machine does, its numbers apart.
"""

import os
from collections.abc import Iterator

import pytest

from tests.serve.bench.cells import CELLS, PLAIN_8, STREAM_16, Plan, measure
from tests.serve.bench.kept import DIRECTORY, REHEARSED, keep, load_run, memory_run
from tests.serve.bench.memory import hold
from tests.serve.bench.peers import LITELLM, LITELLM_GUARDED, ROUTER
from tests.serve.bench.replies import read
from tests.serve.bench.script import FORBIDDEN, FORBIDDINGLY, TEXT, told
from tests.serve.bench.starting import said
from tests.serve.bench.targets import BLOCKS, OURS, PASS_THROUGH, Field, running

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1500), pytest.mark.filterwarnings("default")]
USUAL_S = sum(cell.seconds for cell in CELLS) / len(CELLS)
# Read when this file is: while tests run, they see little of the machine's environment.
SCALE = float(os.environ.get("BENCH_SECONDS", USUAL_S)) / USUAL_S
PLAN = Plan() if SCALE >= 1 else Plan(rounds=1, tries=1, scale=SCALE)
KEPT = DIRECTORY if SCALE >= 1 else REHEARSED
MEMORY = {OURS: 50_000, PASS_THROUGH: 50_000, ROUTER: 50_000, LITELLM: 600, LITELLM_GUARDED: 600}
"""Requests. LiteLLM is so much slower that what it keeps of each has to show in fewer."""


def tell(line: str) -> None:
    print(line, flush=True)


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    with running(tmp_path_factory.mktemp("bench")) as field:
        for name, why in field.missing.items():
            tell(f"\n{name} could not be run: {why}")
        assert OURS not in field.missing
        yield field


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_every_target_tells_the_same_words(field: Field, stream: bool) -> None:
    for target in field.targets:
        reply = read(said(target.port, stream=stream))
        assert (reply.status, told(reply.text), reply.finish) == (200, told(TEXT), "stop"), target.name


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_those_that_say_they_block_do_and_the_others_do_not(field: Field, stream: bool) -> None:
    for target in field.targets:
        reply = read(said(target.port, stream=stream, how=FORBIDDINGLY))
        assert (FORBIDDEN in reply.raw) == (target.name not in BLOCKS), f"{target.name}: {reply.raw[:400]}"


def test_what_a_request_costs(field: Field) -> None:
    found = measure(field.targets, field.engine_pid, PLAN, tell)
    run = load_run(found, field.missing, PLAN.rounds)
    tell(f"kept in {keep(run, KEPT)}")
    assert not any(by[OURS].failed for by in found.values())
    for cell in (PLAIN_8.name, STREAM_16.name):
        if LITELLM_GUARDED in found[cell]:
            assert found[cell][OURS].cpu_us * 10 <= found[cell][LITELLM_GUARDED].cpu_us


def test_what_is_held_after_many_requests(field: Field) -> None:
    held = {}
    for target in field.targets:
        if target.pid is not None and target.name in MEMORY:
            held[target.name] = hold(target, max(100, int(MEMORY[target.name] * SCALE)), tell)
    tell(f"kept in {keep(memory_run(held, field.missing), KEPT)}")
    assert held[OURS].failed == 0
    if SCALE >= 1:
        assert held[OURS].bytes_per_request < 25
