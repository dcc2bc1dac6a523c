"""Claims about limits that several processes share: they hold, whatever clocks, workers and crashes do."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import Message, Scope

from serve.door.caller import Allowance, Caller, note_caller
from serve.door.limits import RateCap
from serve.door.tallies import GATEWAY, MINUTE_S, Held, Spent, Tallies, TalliesFull
from serve.errors import RateLimited
from tests.serve.doors import hello, new_metrics
from tests.serve.gateways import PATIENCE_S
from tests.serve.programs import ROOT

GRAIN_S = 0.25
"""How finely the tallies tell time."""
GAPS = st.lists(
    st.tuples(st.one_of(st.floats(0, 2), st.floats(0, 90)), st.integers(1, 12)), min_size=1, max_size=60
)


@settings(max_examples=150, deadline=None)
@given(gaps=GAPS, limit=st.integers(1, 20), start=st.floats(0, 1e6))
def test_a_rate_is_never_exceeded_in_any_minute(
    gaps: list[tuple[float, int]], limit: int, start: float
) -> None:
    tallies, now = Tallies.alone(4), start
    spent: list[tuple[float, int]] = []
    for gap, amount in gaps:
        now += gap
        if tallies.spend("key", Spent.REQUESTS, amount, limit, now) == 0:
            spent.append((now, amount))
        else:
            # Refused only where it would not have fitted, to a quarter of a second.
            recent = sum(amount for at, amount in spent if now - at <= MINUTE_S + GRAIN_S)
            assert recent + amount > limit
    for begin, _ in spent:
        assert sum(amount for at, amount in spent if begin <= at < begin + MINUTE_S) <= limit


@settings(max_examples=150, deadline=None)
@given(gaps=GAPS, limit=st.integers(12, 20))
def test_who_waits_as_long_as_told_is_let_in_and_not_much_sooner(
    gaps: list[tuple[float, int]], limit: int
) -> None:
    tallies, now = Tallies.alone(4), 50.0
    for gap, amount in gaps:
        now += gap
        wait_s = tallies.spend("key", Spent.TOKENS, amount, limit, now)
        if not wait_s:
            continue
        assert 0 < wait_s <= MINUTE_S + GRAIN_S
        assert tallies.spend("key", Spent.TOKENS, amount, limit, now + max(0, wait_s - 2 * GRAIN_S)) > 0
        now += wait_s + 1e-6
        assert tallies.spend("key", Spent.TOKENS, amount, limit, now) == 0


def test_all_of_a_minute_may_be_spent_at_once_and_again_a_minute_later() -> None:
    tallies = Tallies.alone(4)
    for minute in range(3):
        now = 100.0 + minute * (MINUTE_S + GRAIN_S)
        assert [tallies.spend("key", Spent.REQUESTS, 1, 5, now) for _ in range(5)] == [0.0] * 5
        assert tallies.spend("key", Spent.REQUESTS, 1, 5, now + 59.9) > 0


Reservation = tuple[float, int, int, float]


@settings(max_examples=150, deadline=None)
@given(
    requests=st.lists(
        st.tuples(st.floats(0, 30), st.integers(1, 9), st.integers(0, 9), st.floats(0, 100)), max_size=40
    )
)
def test_tokens_that_were_not_used_are_given_back_and_no_minute_gets_more(
    requests: list[Reservation],
) -> None:
    tallies, now, limit = Tallies.alone(4), 10.0, 20
    running: list[tuple[float, float, int, int]] = []
    used: list[tuple[float, int]] = []
    for gap, reserved, of_them, lasts in requests:
        now += gap
        for end in sorted(run for run in running if run[0] <= now):
            running.remove(end)
            tallies.settle("key", Spent.TOKENS, end[2], min(end[3], end[2]), end[1], end[0])
        if tallies.spend("key", Spent.TOKENS, reserved, limit, now) == 0:
            running.append((now + lasts, now, reserved, of_them))
            used.append((now, min(of_them, reserved)))
    for begin, _ in used:
        assert sum(amount for at, amount in used if begin <= at < begin + MINUTE_S) <= limit


def test_settling_counts_the_unused_at_its_own_time_and_the_overdrawn_now() -> None:
    tallies = Tallies.alone(4)
    assert tallies.spend("key", Spent.TOKENS, 100, 100, 0.0) == 0
    assert tallies.spend("key", Spent.TOKENS, 1, 100, 1.0) > 0
    tallies.settle("key", Spent.TOKENS, 100, 10, 0.0, 2.0)
    assert tallies.spend("key", Spent.TOKENS, 90, 100, 3.0) == 0
    # 500 were used where 90 had been reserved: the key is in debt, for a minute from now on.
    tallies.settle("key", Spent.TOKENS, 90, 500, 3.0, 30.0)
    assert tallies.spend("key", Spent.TOKENS, 1, 100, 89.9) > 0
    assert tallies.spend("key", Spent.TOKENS, 100, 100, 90.5) == 0


def test_a_settlement_that_comes_too_late_gives_nothing_back() -> None:
    tallies = Tallies.alone(4)
    assert tallies.spend("key", Spent.TOKENS, 100, 100, 0.0) == 0
    tallies.settle("key", Spent.TOKENS, 100, 0, 0.0, 200.0)
    assert tallies.spend("key", Spent.TOKENS, 100, 100, 200.0) == 0
    assert tallies.spend("key", Spent.TOKENS, 1, 100, 200.0) > 0


@pytest.mark.anyio
async def test_a_clock_that_jumps_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    year_s = 365 * 86400
    real, jumps = time.time, [year_s]
    monkeypatch.setattr(time, "time", lambda: real() + jumps[0])
    cap = RateCap(hello, Tallies.alone(), new_metrics().rejected)
    scope: Scope = {"type": "http", "path": "/v1/models"}
    note_caller(scope, Caller("k_1", "a", allowance=Allowance(requests_per_minute=2)))

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(_: Message) -> None:
        pass

    for jump in (year_s, -year_s):
        jumps[0] = jump
        await cap(scope, receive, send)
    for jump in (0, year_s, -year_s):
        jumps[0] = jump
        with pytest.raises(RateLimited) as refused:
            await cap(scope, receive, send)
        assert 0 < int(refused.value.headers()["retry-after"]) <= 61


def test_keys_do_not_share_and_too_many_are_said_so() -> None:
    tallies = Tallies.alone(3)
    for key in ("a", "b", "c"):
        assert tallies.take(key, Held.REQUESTS, 1, 1)
        assert not tallies.take(key, Held.REQUESTS, 1, 1)
    with pytest.raises(TalliesFull, match="more than 3 keys"):
        tallies.take("d", Held.REQUESTS, 1, 1)


WORKER = """
import sys, time
from pathlib import Path
from serve.door.tallies import *
tallies = Tallies.shared(Path(sys.argv[1]), 2, int(sys.argv[2]), 8)
print("ready", flush=True)
sys.stdin.readline()
"""


@contextmanager
def worker(path: Path, number: int, then: str) -> Iterator[subprocess.Popen[str]]:
    """A process that shares the tallies, and goes on once it is sent a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER + then, str(path), str(number)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait(PATIENCE_S)
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def said(process: subprocess.Popen[str]) -> list[int]:
    assert process.stdout is not None
    return [int(word) for word in process.stdout.readline().split()]


def test_two_processes_share_one_limit(tmp_path: Path) -> None:
    greedy = """
spent = sum(tallies.spend("key", Spent.TOKENS, 1, 3000, 50.0) == 0 for _ in range(2500))
taken = sum(tallies.take(GATEWAY, Held.REQUESTS, 1, 3000) for _ in range(2500))
print(spent, taken, flush=True)
sys.stdin.readline()
"""
    with worker(tmp_path / "t", 0, greedy) as one, worker(tmp_path / "t", 1, greedy) as other:
        for process in (one, other):
            go(process)
        spent, taken = zip(said(one), said(other), strict=True)
    assert sum(spent) == 3000
    assert sum(taken) == 3000


def test_a_killed_worker_gives_back_what_it_held(tmp_path: Path) -> None:
    tallies = Tallies.shared(tmp_path / "t", 2, 0, 8)
    holds = """
held = [tallies.take(name, Held.REQUESTS, 1, 3) for name in (GATEWAY, "key") for _ in range(3)]
print(sum(held), flush=True)
while True:
    tallies.spend("key", Spent.REQUESTS, 1, 10**9, time.monotonic())
"""
    with worker(tmp_path / "t", 1, holds) as process:
        go(process)
        assert said(process) == [6]
        assert not tallies.take(GATEWAY, Held.REQUESTS, 1, 3)
        process.kill()
        process.wait(PATIENCE_S)
    # Wherever it was within its spending, it left nothing locked.
    assert tallies.spend("key", Spent.TOKENS, 1, 1, time.monotonic()) == 0
    assert not tallies.take("key", Held.REQUESTS, 1, 3)
    tallies.forget(1)
    assert all(tallies.take(name, Held.REQUESTS, 3, 3) for name in (GATEWAY, "key"))
    tallies.close()


def test_a_new_worker_begins_with_nothing_held(tmp_path: Path) -> None:
    first = Tallies.shared(tmp_path / "t", 2, 1, 8)
    assert first.take("key", Held.REQUESTS, 5, 5)
    first.close()
    again = Tallies.shared(tmp_path / "t", 2, 1, 8)
    assert again.held("key", Held.REQUESTS) == 0
    again.close()


def test_tallies_of_another_number_of_workers_are_refused(tmp_path: Path) -> None:
    Tallies.shared(tmp_path / "t", 2, 0).close()
    with pytest.raises(ValueError, match="another number of workers"):
        Tallies.shared(tmp_path / "t", 3, 0)
