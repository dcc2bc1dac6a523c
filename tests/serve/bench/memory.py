"""What a target holds after many requests: resident memory, looked at on the way."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.serve.bench.loader import drive_times
from tests.serve.bench.machine import rss_mib
from tests.serve.bench.script import ask, http_request
from tests.serve.bench.starting import Target

_CALLERS = 16
_SETTLE_S = 2.0
"""For what goes on behind the answers: audit rows on their way into the database."""


@dataclass(frozen=True)
class Held:
    """MiB, resident."""

    before: float
    warm: float
    """After a fifth of the requests: whatever is kept for good was made by then."""
    after: float
    requests: int
    failed: int

    @property
    def bytes_per_request(self) -> float:
        """The slope of the last four fifths."""
        return (self.after - self.warm) * 1024 * 1024 / (0.8 * self.requests)


def hold(target: Target, requests: int, tell: Callable[[str], None]) -> Held:
    """Nine plain requests and a stream, over and over, so many in all."""
    assert target.pid is not None
    plain, stream = (http_request(target.port, ask(stream=stream)) for stream in (False, True))
    asked = [*[plain] * 9, stream]
    before = rss_mib(target.pid)
    first = drive_times(requests // 5, target.port, asked, _CALLERS)
    time.sleep(_SETTLE_S)
    warm = rss_mib(target.pid)
    rest = drive_times(requests - requests // 5, target.port, asked, _CALLERS)
    time.sleep(_SETTLE_S)
    held = Held(before, warm, rss_mib(target.pid), requests, first.failed + rest.failed)
    tell(f"{target.name}: {held}")
    return held
