"""Claims about which replica answers."""

from collections import Counter

import pytest

from serve.engine.breaker import FAILURES
from serve.engine.choice import choose
from serve.engine.replica import Replica
from serve.errors import EngineUnavailable


def replicas(count: int) -> list[Replica]:
    made = [Replica(f"http://10.0.0.{number}:8000") for number in range(count)]
    for replica in made:
        replica.become("ready")
    return made


def beginnings(count: int) -> list[bytes]:
    return [number.to_bytes(4, "big") for number in range(count)]


def test_equal_beginnings_go_to_one_replica_and_different_ones_to_all_alike() -> None:
    pool = replicas(4)
    chosen = {start: choose(pool, start) for start in beginnings(2000)}
    assert all(choose(pool, start) is replica for start, replica in chosen.items())
    shares = Counter(replica.url for replica in chosen.values())
    assert len(shares) == 4
    assert all(400 < share < 600 for share in shares.values())


def test_a_replica_that_goes_moves_nobody_elses_conversations() -> None:
    pool = replicas(4)
    before = {start: choose(pool, start) for start in beginnings(500)}
    gone = pool.pop(1)
    after = {start: choose(pool, start) for start in before}
    assert all(after[start] is replica for start, replica in before.items() if replica is not gone)
    pool.insert(0, gone)
    assert {start: choose(pool, start) for start in before} == before


@pytest.mark.parametrize(
    ("loads", "moves"),
    [((0, 0), False), ((3, 0), False), ((4, 0), True), ((13, 9), False), ((14, 9), True), ((40, 30), False)],
)
def test_it_goes_elsewhere_only_where_the_first_choice_is_busy(loads: tuple[int, int], moves: bool) -> None:
    pool = replicas(2)
    first = choose(pool, b"start")
    second = next(replica for replica in pool if replica is not first)
    first.in_flight, second.in_flight = loads
    assert choose(pool, b"start") is (second if moves else first)


def test_a_replica_that_is_down_or_failed_again_and_again_is_left_out() -> None:
    pool = replicas(3)
    down = choose(pool, b"start")
    down.become("down", "the engine does not answer its health check")
    failing = choose(pool, b"start")
    assert failing is not down
    for _ in range(FAILURES):
        failing.breaker.failed()
    assert choose(pool, b"start") not in (down, failing)


def test_where_none_is_ready_the_caller_learns_what_is_waited_for() -> None:
    pool = replicas(2)
    for replica in pool:
        replica.become("loading adapters", "adapters are being loaded")
    with pytest.raises(EngineUnavailable, match="adapters are being loaded"):
        choose(pool, b"start")
    with pytest.raises(EngineUnavailable, match="try again"):
        choose([], b"start")


def test_a_replica_that_came_back_starts_with_a_clean_record() -> None:
    (replica,) = replicas(1)
    for _ in range(FAILURES):
        replica.breaker.failed()
    assert not replica.is_ready
    replica.become("down", "gone")
    replica.become("ready")
    assert replica.is_ready
