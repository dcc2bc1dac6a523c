"""Leaves out what failed again and again, and lets one probe find out whether it is back.

For anything that is asked over the network: replicas and guards. Knows nothing of either.
"""

from collections.abc import Callable
from time import monotonic
from typing import Final

FAILURES: Final = 5
"""In a row; then nothing is asked for a while."""
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0


class Breaker:
    """Open after FAILURES in a row, for 1 s at first and twice as long after every probe that failed.

    The clock must never jump backwards (`time.monotonic`); it is handed in for the tests' sake.
    """

    __slots__ = ("_clock", "_failures", "_opened_until", "_pause_s", "_probing_since")

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._pause_s = 0.0
        self._opened_until = 0.0
        self._probing_since: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether it failed so often that at most a probe may be sent."""
        return self._failures >= FAILURES

    @property
    def may_ask(self) -> bool:
        """What `allows` would say, without sending the probe."""
        if not self.is_open:
            return True
        now = self._clock()
        # A probe that never told its outcome (its caller left, say) must not shut the door for ever.
        if self._probing_since is not None and now < self._probing_since + self._pause_s:
            return False
        return now >= self._opened_until

    def allows(self) -> bool:
        """Whether to ask now; while it is open a True is the one probe, and others wait for its outcome."""
        if not self.may_ask:
            return False
        if self.is_open:
            self._probing_since = self._clock()
        return True

    def succeeded(self) -> None:
        """It answered: everything is forgotten."""
        self._failures = 0
        self._pause_s = 0.0
        self._probing_since = None

    def failed(self) -> None:
        """It did not; a caller's own mistake is no failure and is not told."""
        was_probe = self._probing_since is not None
        self._failures += 1
        self._probing_since = None
        if self._failures == FAILURES or was_probe:
            self._pause_s = min(max(FIRST_PAUSE_S, self._pause_s * 2), LONGEST_PAUSE_S)
            self._opened_until = self._clock() + self._pause_s
