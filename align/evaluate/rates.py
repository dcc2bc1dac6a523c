"""Rates with their intervals; what could not be scored is in no rate."""

import math

from policies.bundle import Interval

Z = 1.959963984540054
"""95 %, two-sided."""


class NothingScored(Exception):
    """A rate over nothing: not 0, not 1, but unknown."""


def wilson(hits: float, n: int) -> Interval:
    """Share of hits among n, a tie being half of one, with its Wilson score interval (Wilson 1927).

    Raises NothingScored for n = 0.
    """
    if n <= 0:
        raise NothingScored(
            "no reply could be scored, so there is no rate: look at the replies and the engine's log"
        )
    share = hits / n
    spread = Z * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    scale = 1 + Z * Z / n
    centre = share + Z * Z / (2 * n)
    # At 0 and 1 the formula's end is the share itself, but for the last digit.
    low, high = (centre - spread) / scale, (centre + spread) / scale
    return Interval(value=share, low=min(share, max(0.0, low)), high=max(share, min(1.0, high)))
