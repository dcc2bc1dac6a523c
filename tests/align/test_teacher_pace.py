"""Turns at an endpoint under a clock that only the test moves: limits, rates, pauses, order."""

import asyncio
import heapq
from collections.abc import Callable, Iterator
from itertools import count

import pytest

from align.teacher.pace import Pace, Turn

pytestmark = pytest.mark.anyio


class FakeTimer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class FakeClock:
    """Time stands still until `advance`."""

    def __init__(self) -> None:
        self.now = 100.0
        self._due: list[tuple[float, int, FakeTimer]] = []
        self._numbers: Iterator[int] = count()
        self.wakes = 0

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None], /) -> FakeTimer:
        timer = FakeTimer(callback)
        heapq.heappush(self._due, (self.now + delay, next(self._numbers), timer))
        return timer

    async def advance(self, seconds: float) -> None:
        until = self.now + seconds
        while self._due and self._due[0][0] <= until:
            self.now, _, timer = heapq.heappop(self._due)
            if timer.callback:
                self.wakes += 1
                timer.callback()
            await settled()
        self.now = until


async def settled() -> None:
    """Every task has done what it can without time passing."""
    for _ in range(5):
        await asyncio.sleep(0)


class Crowd:
    """Askers that each hold a turn until told to leave."""

    def __init__(self, pace: Pace, clock: FakeClock) -> None:
        self._pace = pace
        self._clock = clock
        self.entered: list[tuple[int, float]] = []
        """Who got a turn, and after which time."""
        self.turns: dict[int, Turn] = {}
        self.tasks: list[asyncio.Task[None]] = []
        self._leave: list[asyncio.Event] = []

    async def join(self, number: int, tokens: int = 0) -> None:
        start = self._clock.now

        async def one(who: int) -> None:
            async with self._pace.turn(tokens) as turn:
                self.entered.append((who, self._clock.now - start))
                self.turns[who] = turn
                await self._leave[who].wait()

        for _ in range(number):
            self._leave.append(asyncio.Event())
            self.tasks.append(asyncio.create_task(one(len(self.tasks))))
        await settled()

    async def leave(self, *who: int) -> None:
        for asker in who:
            self._leave[asker].set()
        await settled()

    @property
    def inside(self) -> int:
        return len(self.entered) - sum(self._leave[who].is_set() for who, _ in self.entered)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


async def dismissed(crowd: Crowd) -> None:
    for task in crowd.tasks:
        task.cancel()
    await asyncio.gather(*crowd.tasks, return_exceptions=True)


async def test_no_more_than_the_limit_go_at_once_and_the_first_come_go_first(clock: FakeClock) -> None:
    crowd = Crowd(Pace(2, clock=clock), clock)
    await crowd.join(5)
    assert [who for who, _ in crowd.entered] == [0, 1]
    await crowd.leave(1)
    assert [who for who, _ in crowd.entered] == [0, 1, 2]
    await crowd.leave(0, 2)
    assert [who for who, _ in crowd.entered] == [0, 1, 2, 3, 4]
    assert clock.wakes == 0
    await dismissed(crowd)


async def test_a_rate_lets_one_second_go_at_once_and_the_rest_in_step(clock: FakeClock) -> None:
    crowd = Crowd(Pace(100, requests_per_minute=120, clock=clock), clock)
    await crowd.join(6)
    await clock.advance(60)
    assert [round(at, 6) for _, at in crowd.entered] == [0, 0, 0.5, 1.0, 1.5, 2.0]
    assert clock.wakes == 4
    await dismissed(crowd)


async def test_a_rate_below_one_per_second_is_kept_from_the_second_request_on(clock: FakeClock) -> None:
    crowd = Crowd(Pace(100, requests_per_minute=6, clock=clock), clock)
    await crowd.join(4)
    await clock.advance(60)
    assert [round(at, 6) for _, at in crowd.entered] == [0, 10, 20, 30]
    await dismissed(crowd)


async def test_an_idle_time_saves_up_no_more_than_a_second(clock: FakeClock) -> None:
    crowd = Crowd(Pace(100, requests_per_minute=120, clock=clock), clock)
    await clock.advance(3600)
    await crowd.join(4)
    await clock.advance(10)
    assert [round(at, 6) for _, at in crowd.entered] == [0, 0, 0.5, 1.0]
    await dismissed(crowd)


async def test_what_is_more_than_a_burst_of_tokens_goes_and_is_waited_off_afterwards(
    clock: FakeClock,
) -> None:
    crowd = Crowd(Pace(100, tokens_per_minute=6000, clock=clock), clock)  # 100 per second
    await crowd.join(3, tokens=500)
    await clock.advance(60)
    assert [round(at, 6) for _, at in crowd.entered] == [0, 5, 10]
    await dismissed(crowd)


async def test_tokens_that_were_estimated_too_high_are_given_back_and_too_low_are_taken(
    clock: FakeClock,
) -> None:
    crowd = Crowd(Pace(100, tokens_per_minute=6000, clock=clock), clock)
    await crowd.join(1, tokens=500)
    crowd.turns[0].succeeded(450)
    await crowd.join(1, tokens=100)
    await clock.advance(60)
    assert crowd.entered[-1] == (1, 4.5)
    crowd.turns[1].succeeded(300)  # level is then 100 - 200
    await crowd.join(1, tokens=100)
    await clock.advance(60)
    assert crowd.entered[-1] == (2, 2.0)
    await dismissed(crowd)


async def test_a_pause_holds_up_everyone(clock: FakeClock) -> None:
    crowd = Crowd(Pace(2, clock=clock), clock)
    await crowd.join(1)
    crowd.turns[0].failed(overloaded=False, pause_s=7.0)
    await crowd.leave(0)
    await crowd.join(2)
    await clock.advance(6.9)
    assert crowd.inside == 0
    crowd.turns[0].failed(overloaded=False, pause_s=3.0)
    crowd.turns[0].failed(overloaded=False, pause_s=0.05)  # a shorter one does not end a longer one
    await clock.advance(2.9)
    assert crowd.inside == 0
    await clock.advance(0.1)
    assert crowd.inside == 2
    await dismissed(crowd)


async def test_overload_halves_the_limit_once_for_all_that_were_in_flight(clock: FakeClock) -> None:
    pace = Pace(16, clock=clock)
    crowd = Crowd(pace, clock)
    await crowd.join(16)
    for turn in crowd.turns.values():
        turn.failed(overloaded=True, pause_s=None)
    assert pace.limit == 8
    await crowd.leave(*range(16))
    await crowd.join(9)
    assert crowd.inside == 8
    for number in (4, 2, 1, 1):
        newest = max(crowd.turns)
        crowd.turns[newest].failed(overloaded=True, pause_s=None)
        assert pace.limit == number
        await crowd.leave(*range(newest + 1))
        await crowd.join(16)
    await dismissed(crowd)


async def test_other_failures_do_not_lower_the_limit(clock: FakeClock) -> None:
    pace = Pace(16, clock=clock)
    async with pace.turn(0) as turn:
        turn.failed(overloaded=False, pause_s=None)
    assert pace.limit == 16


async def test_the_limit_grows_by_one_for_each_round_of_successes_up_to_the_recipes(clock: FakeClock) -> None:
    pace = Pace(4, clock=clock)
    async with pace.turn(0) as before:
        before.failed(overloaded=True, pause_s=None)
    assert pace.limit == 2
    limits = []
    for _ in range(12):
        before.succeeded(0)  # sent before the halving, so it proves nothing
        async with pace.turn(0) as turn:
            turn.succeeded(0)
        limits.append(pace.limit)
    assert limits == [2, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4]


async def test_an_asker_that_gives_up_holds_up_nobody(clock: FakeClock) -> None:
    crowd = Crowd(Pace(1, tokens_per_minute=600, clock=clock), clock)
    await crowd.join(1, tokens=10)
    await crowd.leave(0)
    await crowd.join(1, tokens=1_000)
    await crowd.join(1, tokens=1)
    crowd.tasks[1].cancel()
    await settled()
    await clock.advance(0.1)
    assert [who for who, _ in crowd.entered] == [0, 2]
    await dismissed(crowd)


async def test_a_turn_given_to_one_who_gives_up_at_that_moment_goes_to_the_next(clock: FakeClock) -> None:
    pace = Pace(1, clock=clock)
    await pace.enter(pace.turn(0))
    second, third = (asyncio.create_task(pace.enter(pace.turn(0))) for _ in range(2))
    await settled()
    pace.leave()  # the second has its turn now, and has not run yet
    second.cancel()
    await settled()
    assert second.cancelled()
    assert third.done()
