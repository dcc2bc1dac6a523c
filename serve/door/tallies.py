"""Counts and spendings that all workers of a gateway share, so that a limit means what it says.

One array of 64-bit words in a file that every worker maps: a slot for the gateway and one for each key that
has limits. In a slot: what is *held* now (requests under way, waiting, bytes of bodies), a column a worker,
so that a dead worker's can be struck out; and what was *spent* within the last minute (requests, tokens).

Spendings are kept by quarters of a second and forgotten a minute after the end of their quarter. So in no
minute, wherever it begins, is more spent than the limit, and all of it may be spent at once. (A rate by
theoretical arrival times, with one number for state, allows twice the limit in some minutes or no burst.)

Times are handed in: `time.monotonic`, one clock for all processes of a machine, which nobody sets.
Several workers lock a slot's bytes with POSIX record locks, which the kernel takes back from a dead process.
Knows nothing of HTTP, callers or settings.
"""

import fcntl
import hashlib
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path

GATEWAY = ""
"""The holder whose counts are the whole gateway's."""
MINUTE_S = 60.0
_QUARTERS = 4
"""Of a second: how finely time is told."""
_WORD = 8


class Held(IntEnum):
    """What is counted while somebody has it."""

    REQUESTS = 0
    WAITING = 1
    BODY_BYTES = 2


class Spent(IntEnum):
    """What is used up, and there again a minute later."""

    REQUESTS = 0
    TOKENS = 1


# A meter: the latest quarter that it knows, the sum of all, and a ring of a minute's quarters; one more,
# since the minute that ends now began within a quarter.
_RING = int(MINUTE_S * _QUARTERS) + 1
_METER_WORDS = 2 + _RING


class TalliesFull(Exception):
    """More keys with limits than there are slots."""


class Tallies:
    """The shared array, as one worker sees it."""

    def __init__(self, descriptor: int | None, workers: int, worker: int, capacity: int) -> None:
        """For `alone` and `shared`."""
        self._descriptor = descriptor
        self.workers = workers
        """How many processes share the array."""
        self._worker = worker
        self._capacity = capacity
        self._slot_words = len(Held) * workers + len(Spent) * _METER_WORDS
        # Before the slots lies an index: for each but the gateway's, the digest of its holder.
        self._first_slot = capacity
        size = _WORD * (self._first_slot + (capacity + 1) * self._slot_words)
        if descriptor is not None and os.fstat(descriptor).st_size not in (0, size):
            raise ValueError("the tallies' file was made for another number of workers")
        if descriptor is not None:
            os.ftruncate(descriptor, size)
        self._map = mmap.mmap(-1 if descriptor is None else descriptor, size)
        self._words = memoryview(self._map).cast("q")
        self._slots: dict[str, int] = {GATEWAY: self._first_slot}

    @classmethod
    def alone(cls, capacity: int = 4096) -> "Tallies":
        """Of a gateway that is one process: no file and no locks."""
        return cls(None, 1, 0, capacity)

    @classmethod
    def shared(cls, path: Path, workers: int, worker: int, capacity: int = 4096) -> "Tallies":
        """Of one of several workers. The file must be new with each start of the gateway, and not in
        `state_dir`: it means nothing after a restart of the machine, and needs a local file system.

        ValueError if the file was made for another number of workers.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            tallies = cls(descriptor, workers, worker, capacity)
        except ValueError:
            os.close(descriptor)
            raise
        # Whoever was this worker before is dead.
        tallies.forget(worker)
        return tallies

    def close(self) -> None:
        """Unmap it. What this worker holds stays counted until somebody forgets it."""
        self._words.release()
        self._map.close()
        if self._descriptor is not None:
            os.close(self._descriptor)

    def take(self, holder: str, what: Held, amount: int, limit: int) -> bool:
        """Hold so much more, unless all workers together would hold more than the limit."""
        slot = self._slot_of(holder)
        first = slot + what * self.workers
        with self._locked(slot):
            if sum(self._words[first : first + self.workers]) + amount > limit:
                return False
            self._words[first + self._worker] += amount
            return True

    def give_back(self, holder: str, what: Held, amount: int) -> None:
        """Hold so much less."""
        # This column is nobody else's to write: no lock.
        self._words[self._slot_of(holder) + what * self.workers + self._worker] -= amount

    def held(self, holder: str, what: Held) -> int:
        """What all workers hold together."""
        first = self._slot_of(holder) + what * self.workers
        return sum(self._words[first : first + self.workers])

    def spend(self, holder: str, what: Spent, amount: int, limit: int, now: float) -> float:
        """Seconds to wait until so much may be spent; 0: it was spent. `amount` above `limit` never may.

        With `amount` 0 the answer is whether anything is left at all.
        """
        slot = self._slot_of(holder)
        meter = self._meter(slot, what)
        with self._locked(slot):
            quarter = self._advance(meter, now)
            spent = self._words[meter + 1]
            if spent + max(amount, 1) > limit:
                return self._wait_s(meter, spent + max(amount, 1) - limit, quarter, now)
            self._add(meter, quarter, amount)
            return 0.0

    def settle(
        self, holder: str, what: Spent, reserved: int, used: int, reserved_at: float, now: float
    ) -> None:
        """What was spent at `reserved_at` turned out to be `used`.

        What is left over is given back to its own quarter, lest it be counted off a later minute; what is
        missing is spent now, limit or no limit.
        """
        slot = self._slot_of(holder)
        meter = self._meter(slot, what)
        with self._locked(slot):
            quarter = self._advance(meter, now)
            then = _quarter(reserved_at)
            if used > reserved:
                self._add(meter, quarter, used - reserved)
            elif quarter - then < _RING:
                self._add(meter, then, used - reserved)

    def forget(self, worker: int) -> None:
        """Strike out what a dead worker held, of every holder."""
        for number in range(self._capacity + 1):
            slot = self._first_slot + number * self._slot_words
            # Slots are given out in no order, and touching one that nobody has would make it real memory.
            if number and not self._words[number - 1]:
                continue
            with self._locked(slot):
                for what in Held:
                    self._words[slot + what * self.workers + worker] = 0

    def _slot_of(self, holder: str) -> int:
        known = self._slots.get(holder)
        if known is None:
            known = self._slots[holder] = self._find_or_make(holder)
        return known

    def _find_or_make(self, holder: str) -> int:
        digest = hashlib.sha256(holder.encode()).digest()
        # Never 0, which is an empty entry.
        name = int.from_bytes(digest[:_WORD], "little", signed=True) | 1
        begin = int.from_bytes(digest[_WORD : 2 * _WORD], "little") % self._capacity
        with self._locked(0):
            for step in range(self._capacity):
                number = (begin + step) % self._capacity
                entry = self._words[number]
                if entry in (0, name):
                    self._words[number] = name
                    return self._first_slot + (number + 1) * self._slot_words
        raise TalliesFull(f"more than {self._capacity} keys with limits were used; restart the gateway")

    @contextmanager
    def _locked(self, word: int) -> Iterator[None]:
        """Alone with the slot that begins at that word. Held for microseconds, so it may wait."""
        if self._descriptor is None:
            yield
            return
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX, _WORD, word * _WORD)
        try:
            yield
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, _WORD, word * _WORD)

    def _meter(self, slot: int, what: Spent) -> int:
        return slot + len(Held) * self.workers + what * _METER_WORDS

    def _advance(self, meter: int, now: float) -> int:
        """Forget what is older than a minute; the quarter it is now."""
        words, ring = self._words, meter + 2
        latest, quarter = words[meter], _quarter(now)
        if quarter - latest >= _RING:
            words[meter + 1 : ring + _RING] = _NOTHING
        else:
            for past in range(latest + 1, quarter + 1):
                words[meter + 1] -= words[ring + past % _RING]
                words[ring + past % _RING] = 0
        words[meter] = max(latest, quarter)
        return max(latest, quarter)

    def _add(self, meter: int, quarter: int, amount: int) -> None:
        self._words[meter + 1] += amount
        self._words[meter + 2 + quarter % _RING] += amount

    def _wait_s(self, meter: int, excess: int, quarter: int, now: float) -> float:
        """Until enough of the minute's quarters are forgotten; all of them if they never are enough."""
        for past in range(quarter - _RING + 1, quarter + 1):
            excess -= self._words[meter + 2 + past % _RING]
            if excess <= 0:
                return (past + _RING) / _QUARTERS - now
        return MINUTE_S + 1 / _QUARTERS


_NOTHING = memoryview(bytes(_WORD * (_METER_WORDS - 1))).cast("q")


def _quarter(now: float) -> int:
    return int(now * _QUARTERS)
