"""How sure a comparison is: two models on the same samples, and several judges on the same replies.

Rates of one model and their intervals are `rates`'. Nothing here knows what is compared; NaN and None
stand for what could not be told, and are left out and counted.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from align.evaluate.rates import NothingScored
from policies.bundle import Interval

RESAMPLES = 10_000
_CONFIDENCE = 0.95
_BATCH = 500
"""Resamples that are in memory at once."""

Label = Hashable | None


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Second minus first, over the samples that were scored for both."""

    difference: Interval
    """Mean, with its 95 % bootstrap interval, in [-1, 1] for rates."""
    n: int
    dropped: int
    """Pairs of which one or both were unscored."""
    distinct: int
    """Requests among those that were scored."""


def paired_bootstrap(
    first: Sequence[float],
    second: Sequence[float],
    requests: Sequence[Hashable] | None = None,
    *,
    seed: int,
    method: Literal["percentile", "BCa"] = "percentile",
    resamples: int = RESAMPLES,
) -> PairedDifference:
    """Mean difference of two models' values on the same samples (Efron & Tibshirani 1993, ch. 13, 14).

    Values stand in the order of the samples; ValueError for unequal lengths. Samples are drawn in pairs, and
    those of one request together, with all of its pictures (the cluster bootstrap, Davison & Hinkley 1997,
    ch. 3.8). The interval is never narrower than if all samples were apart, and is that one where
    `requests` is None, all differ, or there is only one. With fewer than some twenty requests it is still
    somewhat too narrow (Cameron, Gelbach & Miller 2008).

    Raises NothingScored for fewer than two pairs. Where every pair differs by the same, the interval is a
    point: the bootstrap knows no more than the samples, and a small n must be read with that in mind.
    """
    asked = range(len(first)) if requests is None else requests
    apart = [b - a for a, b in zip(first, second, strict=True)]
    scored = [(value, name) for value, name in zip(apart, asked, strict=True) if not math.isnan(value)]
    if len(scored) < 2:
        raise NothingScored(f"{len(scored)} of {len(apart)} pairs are scored: that is no comparison")
    draws = [[[value] for value, _ in scored]]
    by_request = _by_request(scored)
    if 1 < len(by_request) < len(scored):
        draws.append(by_request)
    ends = [_limits(groups, seed, method, resamples) for groups in draws]
    mean = math.fsum(value for value, _ in scored) / len(scored)
    difference = Interval(value=mean, low=min(low for low, _ in ends), high=max(high for _, high in ends))
    return PairedDifference(difference, len(scored), len(apart) - len(scored), len(by_request))


def _by_request(scored: Sequence[tuple[float, Hashable]]) -> list[list[float]]:
    found: dict[Hashable, list[float]] = defaultdict(list)
    for value, request in scored:
        found[request].append(value)
    return list(found.values())


def _limits(groups: Sequence[Sequence[float]], seed: int, method: str, resamples: int) -> tuple[float, float]:
    """The ends of the interval of the mean over all values, where whole groups are drawn."""
    import numpy as np
    from scipy.stats import bootstrap

    sums = np.array([math.fsum(group) for group in groups])
    sizes = np.array([len(group) for group in groups])
    mean = float(sums.sum() / sizes.sum())
    if np.ptp(sums / sizes) == 0:
        return mean, mean
    limits = bootstrap(
        (sums, sizes),
        _mean,
        paired=True,
        vectorized=True,
        n_resamples=resamples,
        batch=_BATCH,
        confidence_level=_CONFIDENCE,
        method=method,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(limits.low), float(limits.high)


def _mean(sums: Any, sizes: Any, axis: int = -1) -> Any:
    return sums.sum(axis=axis) / sizes.sum(axis=axis)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far judges agree beyond chance."""

    kappa: float | None
    """None where it is undefined: fewer than two judges, no item, or one label for everything."""
    agreed: float | None
    """Share of agreeing pairs of judges, by item, whatever chance explains; None without an item."""
    n: int
    """Items on which every judge voted."""
    dropped: int
    """Items on which at least one did not."""


def agreement(votes: Mapping[str, Sequence[Label]]) -> Agreement:
    """Of judges by name, each with its labels in the order of the items; None where a judge did not vote.

    Cohen's kappa for two judges, Fleiss' for more. ValueError where they judged different numbers of items.
    """
    items = list(zip(*votes.values(), strict=True))
    whole = [item for item in items if None not in item]
    kappa = cohen_kappa(whole) if len(votes) == 2 else fleiss_kappa(whole)
    return Agreement(kappa, _observed(whole), len(whole), len(items) - len(whole))


def cohen_kappa(pairs: Sequence[tuple[Label, ...]]) -> float | None:
    """Of two judges (Cohen 1960): chance from each judge's own use of the labels.

    None where both gave every item the same one label. They agreed on everything, but there is nothing by
    which to tell agreement from habit, so kappa is 0/0 and not 1.
    """
    if not pairs:
        return None
    n = len(pairs)
    first, second = (Counter(labels) for labels in zip(*pairs, strict=True))
    # Whole numbers up to the division, so that "undefined" is not a matter of rounding.
    chance = sum(first[label] * second[label] for label in first)
    agreed = sum(a == b for a, b in pairs)
    return None if chance == n * n else (agreed * n - chance) / (n * n - chance)


def fleiss_kappa(items: Sequence[tuple[Label, ...]]) -> float | None:
    """Of any fixed number of votes per item (Fleiss 1971): chance from the use of the labels over all judges.

    None where all votes are for one label, as with `cohen_kappa`, and for fewer than two votes per item.
    """
    observed = _observed(items)
    if observed is None:
        return None
    used = Counter(label for item in items for label in item)
    total = used.total()
    if len(used) == 1:
        return None
    chance = sum(count * count for count in used.values()) / (total * total)
    return (observed - chance) / (1 - chance)


def _observed(items: Sequence[tuple[Label, ...]]) -> float | None:
    """Mean over the items of the share of pairs of votes that agree."""
    if not items or len(items[0]) < 2:
        return None
    votes = len(items[0])
    agreeing = sum(count * (count - 1) for item in items for count in Counter(item).values())
    return agreeing / (votes * (votes - 1) * len(items))


@dataclass(frozen=True, slots=True)
class Wins:
    """Comparisons of two models, from the first one's side."""

    won: int
    lost: int
    tied: int
    unscored: int

    @property
    def rate(self) -> float | None:
        """(W + T/2) / (W + L + T): a tie is half a win; None where nothing is scored."""
        scored = self.won + self.lost + self.tied
        return (self.won + self.tied / 2) / scored if scored else None

    @property
    def of_decided(self) -> float | None:
        """W / (W + L), without the ties; None where every one is a tie."""
        decided = self.won + self.lost
        return self.won / decided if decided else None


def wins(values: Sequence[float]) -> Wins:
    """Count 1, 0, 0.5 and NaN; ValueError for any other number."""
    unscored = sum(map(math.isnan, values))
    counts = Counter(value for value in values if not math.isnan(value))
    if strange := set(counts) - {1.0, 0.0, 0.5}:
        raise ValueError(f"neither won, lost nor tied: {sorted(strange)}")
    return Wins(counts[1.0], counts[0.0], counts[0.5], unscored)
