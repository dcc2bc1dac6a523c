"""How hard one endpoint is asked: so many requests at once, so many requests and tokens per minute.

Whoever wants to ask waits for a turn, first come, first served. The limit on requests at once is halved
when the server says that it has too much to do, and grows back by one for every round of successes. A
pause that the server asks for holds up the whole endpoint. Nothing here polls: one timer at most runs.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

NOTHING = 1e-9
"""Less than this is rounding, not a wait."""


class Timer(Protocol):
    """A call that is due later."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """The part of an event loop that knows the time."""

    def time(self) -> float: ...

    def call_later(self, delay: float, callback: Callable[[], None], /) -> Timer: ...


class Bucket:
    """A rate with a burst of one second; what is more than a burst is lent, and waited off afterwards."""

    def __init__(self, per_minute: float, now: float) -> None:
        self._per_s = per_minute / 60
        self._level = self._burst = self._per_s
        self._filled_at = now

    def wait(self, amount: float, now: float) -> float:
        """Seconds until so much may be taken."""
        self._fill(now)
        missing = min(amount, self._burst) - self._level
        return missing / self._per_s if missing > NOTHING else 0.0

    def take(self, amount: float, now: float) -> None:
        """Take it, below zero if need be; a negative amount gives back."""
        self._fill(now)
        self._level = min(self._burst, self._level - amount)

    def _fill(self, now: float) -> None:
        self._level = min(self._burst, self._level + (now - self._filled_at) * self._per_s)
        self._filled_at = now


class Turn:
    """One request's time at the endpoint; enter it to wait for it."""

    __slots__ = ("_pace", "limit_number", "tokens")

    def __init__(self, pace: "Pace", tokens: int) -> None:
        self._pace = pace
        self.tokens = tokens
        """Estimated, prompt and completion."""
        self.limit_number = 0
        """How often the limit had been halved when the turn came."""

    async def __aenter__(self) -> Self:
        await self._pace.enter(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pace.leave()

    def succeeded(self, tokens: int) -> None:
        """A reply came, and took so many tokens."""
        self._pace.correct(self.tokens - tokens)
        self._pace.grow(self)

    def failed(self, *, overloaded: bool, pause_s: float | None) -> None:
        """No reply came."""
        if overloaded:
            self._pace.halve(self)
        if pause_s:
            self._pace.pause(pause_s)


class Pace:
    """The turns of one endpoint."""

    def __init__(
        self,
        concurrency: int,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        *,
        clock: Clock,
    ) -> None:
        now = clock.time()
        self._clock = clock
        self._most = self.limit = concurrency
        self._in_flight = 0
        self._successes = 0
        self._halvings = 0
        self._requests = Bucket(requests_per_minute, now) if requests_per_minute else None
        self._tokens = Bucket(tokens_per_minute, now) if tokens_per_minute else None
        self._paused_until = now
        self._waiting: deque[tuple[Turn, asyncio.Future[None]]] = deque()
        self._timer: Timer | None = None
        self._timer_due = 0.0

    def turn(self, tokens: int) -> Turn:
        """A turn for a request that may take so many tokens."""
        return Turn(self, tokens)

    async def enter(self, turn: Turn) -> None:
        """Returns when it is the turn's time."""
        admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, admitted))
        self._admit()
        if admitted.done():
            return
        try:
            await admitted
        except asyncio.CancelledError:
            if admitted.cancelled():
                self._admit()  # those behind it may have waited for it alone
            else:
                self.leave()
            raise

    def leave(self) -> None:
        """A turn is over."""
        self._in_flight -= 1
        self._admit()

    def correct(self, surplus: int) -> None:
        """Give back what an estimate was too high, or take what it was too low."""
        if self._tokens:
            self._tokens.take(-surplus, self._clock.time())

    def grow(self, turn: Turn) -> None:
        """One more at once after a whole round of successes; those from before a halving prove nothing."""
        if self.limit == self._most or turn.limit_number != self._halvings:
            return
        self._successes += 1
        if self._successes >= self.limit:
            self._successes = 0
            self.limit += 1

    def halve(self, turn: Turn) -> None:
        """Half as many at once; what was sent before the last halving was not sent at the new limit."""
        if turn.limit_number == self._halvings:
            self._halvings += 1
            self._successes = 0
            self.limit = max(1, self.limit // 2)

    def pause(self, seconds: float) -> None:
        """Nothing is sent for so long."""
        self._paused_until = max(self._paused_until, self._clock.time() + seconds)

    def _admit(self) -> None:
        """Let in as many as may go, in the order in which they came."""
        while self._waiting:
            turn, admitted = self._waiting[0]
            if not admitted.done():  # otherwise its asker has given up
                if self._in_flight >= self.limit:
                    return
                if (delay := self._delay(turn)) > 0:
                    self._wake_in(delay)
                    return
                self._let_in(turn)
                admitted.set_result(None)
            self._waiting.popleft()

    def _delay(self, turn: Turn) -> float:
        now = self._clock.time()
        pause = self._paused_until - now
        for_requests = self._requests.wait(1, now) if self._requests else 0.0
        for_tokens = self._tokens.wait(turn.tokens, now) if self._tokens else 0.0
        return max(pause if pause > NOTHING else 0.0, for_requests, for_tokens)

    def _let_in(self, turn: Turn) -> None:
        now = self._clock.time()
        self._in_flight += 1
        turn.limit_number = self._halvings
        if self._requests:
            self._requests.take(1, now)
        if self._tokens:
            self._tokens.take(turn.tokens, now)

    def _wake_in(self, delay: float) -> None:
        due = self._clock.time() + delay
        if self._timer and self._timer_due <= due:
            return
        if self._timer:
            self._timer.cancel()
        self._timer, self._timer_due = self._clock.call_later(delay, self._wake), due

    def _wake(self) -> None:
        self._timer = None
        self._admit()
