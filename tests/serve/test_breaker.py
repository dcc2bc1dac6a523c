"""Claims about leaving out what failed again and again; the clock is the test's."""

from dataclasses import dataclass

import pytest

from serve.engine.breaker import FAILURES, FIRST_PAUSE_S, LONGEST_PAUSE_S, Breaker


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def broken(clock: Clock) -> Breaker:
    """One that has just opened."""
    breaker = Breaker(clock)
    for _ in range(FAILURES):
        assert breaker.allows()
        breaker.failed()
    return breaker


def test_it_opens_after_failures_in_a_row_and_not_before(clock: Clock) -> None:
    breaker = Breaker(clock)
    for _ in range(3):
        for _ in range(FAILURES - 1):
            breaker.failed()
        assert breaker.allows()
        breaker.succeeded()
    for _ in range(FAILURES):
        breaker.failed()
    assert breaker.is_open
    assert not breaker.allows()


def test_after_a_pause_one_probe_is_sent_and_others_wait_for_it(broken: Breaker, clock: Clock) -> None:
    clock.now += FIRST_PAUSE_S * 0.99
    assert not broken.allows()
    clock.now += FIRST_PAUSE_S * 0.02
    assert broken.may_ask
    assert broken.allows()
    assert not broken.may_ask
    assert not broken.allows()


def test_a_probe_that_succeeds_closes_it_and_forgets_everything(broken: Breaker, clock: Clock) -> None:
    clock.now += FIRST_PAUSE_S
    assert broken.allows()
    broken.succeeded()
    assert not broken.is_open
    for _ in range(FAILURES - 1):
        broken.failed()
    assert broken.allows()


def test_each_probe_that_fails_doubles_the_pause_up_to_the_longest(broken: Breaker, clock: Clock) -> None:
    pauses = []
    for _ in range(9):
        before = clock.now
        while not broken.allows():
            clock.now += 0.25
        pauses.append(clock.now - before)
        broken.failed()
    assert pauses == [1, 2, 4, 8, 16, 32, LONGEST_PAUSE_S, LONGEST_PAUSE_S, LONGEST_PAUSE_S]


def test_a_probe_whose_outcome_nobody_told_does_not_shut_it_for_ever(broken: Breaker, clock: Clock) -> None:
    clock.now += FIRST_PAUSE_S
    assert broken.allows()  # its caller leaves
    clock.now += FIRST_PAUSE_S
    assert broken.allows()


def test_what_fails_late_does_not_lengthen_the_pause(broken: Breaker, clock: Clock) -> None:
    for _ in range(20):  # requests that were under way when it opened
        broken.failed()
    clock.now += FIRST_PAUSE_S
    assert broken.allows()
