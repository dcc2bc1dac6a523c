"""What a target holds after many requests: resident memory, looked at on the way."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from tests.serve.bench.loader import drive_times
from tests.serve.bench.machine import rss_mib
from tests.serve.bench.script import ask, http_request
from tests.serve.bench.starting import Target

_CALLERS = 16
_PARTS = 5
_SETTLE_S = 2.0
"""For what goes on behind the answers: audit rows on their way into the database."""


@dataclass(frozen=True)
class Held:
    """MiB, resident."""

    before: float
    warm: float
    """After a fifth of the requests: whatever is kept for good was made by then."""
    later: tuple[float, ...]
    """After each of the other fifths."""
    requests: int
    failed: int

    @property
    def after(self) -> float:
        """After all."""
        return self.later[-1]

    @property
    def bytes_per_request(self) -> float:
        """The median slope of the last four fifths: a leak grows in each, an allocator's step is in one."""
        steps = [then - now for now, then in pairwise((self.warm, *self.later))]
        return statistics.median(steps) * 1024 * 1024 / (self.requests / _PARTS)


def hold(target: Target, requests: int, tell: Callable[[str], None]) -> Held:
    """Nine plain requests and a stream, over and over, so many in all."""
    assert target.pid is not None
    plain, stream = (http_request(target.port, ask(stream=stream)) for stream in (False, True))
    asked = [*[plain] * 9, stream]
    resident, failed = [rss_mib(target.pid)], 0
    for _ in range(_PARTS):
        failed += drive_times(requests // _PARTS, target.port, asked, _CALLERS).failed
        time.sleep(_SETTLE_S)
        resident.append(rss_mib(target.pid))
    before, warm, *later = resident
    held = Held(before, warm, tuple(later), requests, failed)
    tell(f"{target.name}: {held}")
    return held
