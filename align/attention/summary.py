"""From measured replies to means with intervals: overall, by layer, by position, and between models.

Every reply counts once, however long it is: a mean is one over replies of each reply's own mean. Intervals
are percentile bootstraps over replies (95 %, a fixed seed), so they cover the choice of questions and
nothing else: not the model's seed, not its training.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from align.attention.measure import Measured, Values, mean
from align.attention.metric import Metric
from align.attention.replies import Reply
from align.attention.sections import Section, Split

RESAMPLES = 2000
SEED = 0
BINS = 12
FEWEST = 5
"""A point of a curve that fewer replies reach is left out: the last ones standing are no mean."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over replies with its 95 % interval; no interval from fewer than two."""

    value: float
    low: float | None
    high: float | None
    n: int
    """Replies that it is over."""


@dataclass(frozen=True, slots=True)
class Point:
    """A stretch of positions in a section, counted in tokens from the section's first."""

    first: int
    last: int
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """What was measured of one model; what is not defined is missing, never 0."""

    replies: Mapping[Split, int]
    cut: int
    """Replies that ran into the limit of tokens."""
    tokens: Mapping[Section, float]
    """Mean number of tokens, over the replies that have the section."""
    overall: Mapping[Section, Mapping[Metric, Estimate]]
    """Means over layers."""
    layers: Mapping[Section, Mapping[Metric, Sequence[Estimate | None]]]
    decay: Mapping[Section, Mapping[Metric, Sequence[Point]]]


def summary(
    replies: Sequence[Reply], found: Sequence[Measured], widths: Mapping[Section, int]
) -> ModelSummary:
    """Of one model; `widths` gives the stretches of its curves, in tokens."""
    return ModelSummary(
        replies=dict(Counter(reply.split for reply in replies)),
        cut=sum(reply.cut for reply in replies),
        tokens={section: float(np.mean(lengths)) for section, lengths in _lengths(found).items()},
        overall=_each(found, lambda section, metric: estimate(_overall(found, section, metric))),
        layers=_each(found, lambda section, metric: _by_layer(found, section, metric)),
        decay=_each(found, lambda section, metric: _curve(found, section, metric, widths[section])),
    )


def differences(base: Sequence[Measured], other: Sequence[Measured]) -> dict[Section, dict[Metric, Estimate]]:
    """Other less base, overall, over the questions to which both replies have the section."""
    pairs = {one.question: one for one in base}
    shared = [(pairs[one.question], one) for one in other if one.question in pairs]

    def difference(section: Section, metric: Metric) -> Estimate | None:
        both = [pair for pair in shared if all(section in one.by_layer for one in pair)]
        before, after = ([pair[side] for pair in both] for side in (0, 1))
        return estimate(_overall(after, section, metric) - _overall(before, section, metric))

    return _each(list(other), difference)


def curve_widths(found: Sequence[Measured]) -> dict[Section, int]:
    """Stretches that give every model's curves the same `BINS` or fewer points."""
    longest = {section: max(lengths) for section, lengths in _lengths(found).items()}
    return {section: -(-length // BINS) for section, length in longest.items()}


def estimate(values: Values) -> Estimate | None:
    """Of one value per reply, NaN where it has none; None over nothing."""
    known = values[np.isfinite(values)]
    if not len(known):
        return None
    value = float(known.mean(dtype=np.float64))
    if len(known) < 2:
        return Estimate(value, None, None, len(known))
    draws = np.random.default_rng(SEED).integers(len(known), size=(RESAMPLES, len(known)))
    low, high = np.percentile(known[draws].mean(1, dtype=np.float64), (2.5, 97.5))
    return Estimate(value, float(low), float(high), len(known))


def _each(
    found: Sequence[Measured], made: Callable[[Section, Metric], T | None]
) -> dict[Section, dict[Metric, T]]:
    """What is made of each section and metric that was measured; what comes to nothing is left out."""
    metrics = {section: list(one.by_layer[section]) for one in found for section in one.by_layer}
    return {
        section: {
            metric: value for metric in metrics[section] if (value := made(section, metric)) is not None
        }
        for section in Section
        if section in metrics
    }


def _overall(found: Sequence[Measured], section: Section, metric: Metric) -> Values:
    """One number for each reply that has the section: the mean over layers."""
    return np.array([mean(one.by_layer[section][metric], 0) for one in _having(found, section)], np.float32)


def _by_layer(found: Sequence[Measured], section: Section, metric: Metric) -> list[Estimate | None]:
    columns = np.stack([one.by_layer[section][metric] for one in _having(found, section)], 1)
    return [estimate(column) for column in columns]


def _curve(found: Sequence[Measured], section: Section, metric: Metric, width: int) -> list[Point]:
    rows = [one.by_position[section][metric] for one in _having(found, section)]
    points = []
    for first in range(0, max(map(len, rows)), width):
        # A reply counts where it reaches the whole stretch: else a point would mix lengths.
        means = [mean(row[first : first + width], 0) for row in rows if len(row) >= first + width]
        known = estimate(np.array(means, np.float32))
        if known and known.n >= FEWEST:
            points.append(Point(first, first + width - 1, known))
    return points


def _lengths(found: Sequence[Measured]) -> dict[Section, list[int]]:
    lengths: dict[Section, list[int]] = {}
    for one in found:
        for section, metrics in one.by_position.items():
            lengths.setdefault(section, []).append(len(next(iter(metrics.values()))))
    return lengths


def _having(found: Sequence[Measured], section: Section) -> list[Measured]:
    return [one for one in found if section in one.by_layer]
