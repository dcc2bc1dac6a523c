"""Who is answered now, who waits for a turn, and who is told to come back: 429 for a key, 503 for all.

The places are the gateway's, counted over all its workers; each worker has a queue of its own, first come,
first served. Knows nothing of HTTP: whoever stops waiting is cancelled, and that frees the place.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from serve.door.caller import Caller
from serve.door.tallies import GATEWAY, Held, Spent, Tallies
from serve.errors import InvalidRequest, Overloaded, RateLimited
from serve.observe.metrics import Metrics
from serve.options.door import LimitSettings

# Other workers tell nobody when they free a place, so whoever waits looks again, so often.
_LOOK_AGAIN_S = 0.02


@dataclass(slots=True)
class Place:
    """A request's place among those that are answered."""

    queued_s: float = 0.0
    used_tokens: int | None = 0
    """Prompt and completion. None from its turn on, until usage is known: what was reserved stays spent."""


class Admission:
    """The places of a gateway."""

    def __init__(
        self,
        limits: LimitSettings,
        tallies: Tallies,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock`: seconds; the same for every worker."""
        self._limits = limits
        self._tallies = tallies
        self._metrics = metrics
        self._clock = clock
        self._queue: deque[asyncio.Future[None]] = deque()
        self._watch: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def admitted(self, caller: Caller, tokens: int = 0) -> AsyncIterator[Place]:
        """A place, kept until the context is left; `tokens` are reserved of the key's, then settled.

        Raises RateLimited (of this key), Overloaded (the queue is full, or it took too long), and
        InvalidRequest where `tokens` are more than the key may use a minute, so that waiting is no use.
        """
        with self._of_key(caller), self._reserved(caller, tokens) as place:
            place.queued_s = await self._turn()
            place.used_tokens = None
            self._metrics.queued.observe(place.queued_s)
            self._metrics.in_flight.inc()
            try:
                yield place
            finally:
                self._metrics.in_flight.dec()
                self._leave()

    @contextmanager
    def _of_key(self, caller: Caller) -> Iterator[None]:
        """One of the key's own places; waiting ones count, lest one key fill the queue."""
        limit = caller.allowance.in_flight
        if limit is None:
            yield
            return
        if not self._tallies.take(caller.key_id, Held.REQUESTS, 1, limit):
            self._metrics.rejected.labels("in_flight").inc()
            raise RateLimited(f"this key may have {limit} requests under way; wait for one", wait_s=1)
        try:
            yield
        finally:
            self._tallies.give_back(caller.key_id, Held.REQUESTS, 1)

    @contextmanager
    def _reserved(self, caller: Caller, tokens: int) -> Iterator[Place]:
        place = Place()
        limit = caller.allowance.tokens_per_minute
        if limit is None:
            yield place
            return
        if tokens > limit:
            raise InvalidRequest(
                f"max_tokens: this key may use {limit} tokens a minute; ask for fewer", param="max_tokens"
            )
        reserved_at = self._clock()
        wait_s = self._tallies.spend(caller.key_id, Spent.TOKENS, tokens, limit, reserved_at)
        if wait_s:
            self._metrics.rejected.labels("tokens").inc()
            raise RateLimited(f"this key may use {limit} tokens a minute; wait", wait_s=wait_s)
        try:
            yield place
        finally:
            if place.used_tokens is not None:
                used, now = place.used_tokens, self._clock()
                self._tallies.settle(caller.key_id, Spent.TOKENS, tokens, used, reserved_at, now)

    async def _turn(self) -> float:
        """Take a place, now or later; the seconds that it took."""
        if not self._queue and self._take():
            return 0.0
        if not self._tallies.take(GATEWAY, Held.WAITING, 1, self._limits.queue):
            self._metrics.rejected.labels("queue_full").inc()
            raise Overloaded("as many requests as allowed are under way and waiting; try again")
        began = self._clock()
        self._metrics.queue_depth.inc()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        self._look_again_soon()
        try:
            async with asyncio.timeout(self._limits.queue_s):
                await turn
        except TimeoutError as error:
            self._renounce(turn)
            self._metrics.rejected.labels("queue_timeout").inc()
            raise Overloaded("no turn came within the time that requests may wait; try again") from error
        except asyncio.CancelledError:
            self._renounce(turn)
            raise
        finally:
            self._metrics.queue_depth.dec()
            self._tallies.give_back(GATEWAY, Held.WAITING, 1)
        return self._clock() - began

    def _renounce(self, turn: asyncio.Future[None]) -> None:
        if turn in self._queue:
            self._queue.remove(turn)
        elif not turn.cancelled():
            # Its turn came in the very moment in which nobody waited for it any more.
            self._leave()

    def _take(self) -> bool:
        return self._tallies.take(GATEWAY, Held.REQUESTS, 1, self._limits.in_flight)

    def _leave(self) -> None:
        self._tallies.give_back(GATEWAY, Held.REQUESTS, 1)
        self._call_next()

    def _call_next(self) -> None:
        while self._queue and self._take():
            turn = self._queue.popleft()
            if turn.done():
                # Cancelled, and not yet told: the place is still free.
                self._tallies.give_back(GATEWAY, Held.REQUESTS, 1)
            else:
                turn.set_result(None)

    def _look_again_soon(self) -> None:
        if self._watch is None and self._queue and self._tallies.workers > 1:
            self._watch = asyncio.get_running_loop().call_later(_LOOK_AGAIN_S, self._look_again)

    def _look_again(self) -> None:
        self._watch = None
        self._call_next()
        self._look_again_soon()
