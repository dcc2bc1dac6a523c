"""Rates with their intervals, which know when the same request was asked many times.

A benchmark that asks few requests over many pictures knows less than as many samples that are all apart:
what a model does with a request it does much alike over every picture. So an interval is not over the
number of samples but over an effective one.
"""

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence

from policies.bundle import Interval

Z = 1.959963984540054
"""95 %, two-sided."""
_TWO_SIDED = 0.975


class NothingScored(Exception):
    """A rate over nothing: not 0, not 1, but unknown."""


def wilson(hits: float, n: int, effective: float | None = None) -> Interval:
    """Share of hits among n, a tie being half of one, with its Wilson score interval (Wilson 1927).

    The interval is over `effective` samples where they are fewer. Raises NothingScored for n = 0.
    """
    if n <= 0:
        raise NothingScored(
            "no reply could be scored, so there is no rate: look at the replies and the engine's log"
        )
    share, size = hits / n, effective or n
    spread = Z * math.sqrt(share * (1 - share) / size + Z * Z / (4 * size * size))
    scale = 1 + Z * Z / size
    centre = share + Z * Z / (2 * size)
    # At 0 and 1 the formula's end is the share itself, but for the last digit.
    low, high = (centre - spread) / scale, (centre + spread) / scale
    return Interval(value=share, low=min(share, max(0.0, low)), high=max(share, min(1.0, high)))


def clustered_wilson(values: Sequence[float], requests: Sequence[Hashable]) -> Interval:
    """The share of scored values, of which those of one request belong together; see `effective_size`."""
    return wilson(math.fsum(values), len(values), effective_size(values, requests) if values else None)


def effective_size(values: Sequence[float], requests: Sequence[Hashable]) -> float:
    """How many independent samples these shares in [0, 1] are worth, from 1 to their number n.

    n over the design effect, which is the variance of the share between requests (linearized, Kish 1965)
    over that of n independent samples and is never taken below 1; with few requests the share of n that is
    left also shrinks by the squares of Student's quantiles, (t[n-1] / t[requests-1])² (Korn & Graubard
    1998). Wilson's interval then takes it for n (Franco, Little, Louis & Slud 2019).

    Never less than n²/Σn_r², n_r being the samples of one request: what is left where each request decides
    all of its samples, and the number of requests if all have as many. Where a share is 0 or 1, or only one
    request was asked, nothing between requests can be estimated, and n itself is returned: whoever shows
    the interval shows the number of requests beside it.
    """
    n, share = len(values), math.fsum(values) / len(values)
    by_request: dict[Hashable, list[float]] = defaultdict(list)
    for value, request in zip(values, requests, strict=True):
        by_request[request].append(value)
    many = len(by_request)
    if many in (1, n) or share in (0, 1):
        return float(n)
    from scipy.stats import t

    apart = math.fsum((math.fsum(found) - len(found) * share) ** 2 for found in by_request.values())
    between = apart / (n * n) * many / (many - 1)
    effect = max(1.0, between / (share * (1 - share) / (n - 1)))
    few = (float(t.ppf(_TWO_SIDED, n - 1)) / float(t.ppf(_TWO_SIDED, many - 1))) ** 2
    least = n * n / sum(len(found) ** 2 for found in by_request.values())
    return max(least, n / effect * few)
