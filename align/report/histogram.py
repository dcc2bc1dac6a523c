"""A histogram: round bins over many values, and where each bar, tick and mark is drawn.

The drawing is `WIDTH` by `HEIGHT` units, which a page shows at about one pixel each, so that its words
stay readable on a phone.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from align.report.spelling import number

WIDTH, HEIGHT = 360, 150
LEFT, RIGHT, TOP, BOTTOM = 8, 8, 30, 22
_BINS = 30
_TICKS = 5
_TAIL = 0.995
_FAR = 3.0
"""Times the distance between the quartiles: whatever is farther above the upper one is far out (Tukey 1977).

Values beyond either limit share the last bin: a few long ones must not flatten the rest.
"""


@dataclass(frozen=True, slots=True)
class Bin:
    text: str
    count: int
    x: float
    y: float
    width: float
    height: float
    tail: bool
    """Whether it has no upper end."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A tick of the axis, or a line through the drawing."""

    text: str
    x: float
    anchor: str


@dataclass(frozen=True, slots=True)
class Histogram:
    """How values are spread."""

    kind: ClassVar[str] = "histogram"
    wide: ClassVar[bool] = False
    width: ClassVar[int] = WIDTH
    height: ClassVar[int] = HEIGHT
    top: ClassVar[int] = TOP
    base: ClassVar[int] = HEIGHT - BOTTOM
    title: str
    unit: str
    bins: tuple[Bin, ...]
    ticks: tuple[Mark, ...]
    marks: tuple[Mark, ...]
    most: int
    note: str

    @property
    def most_at_left(self) -> bool:
        """Where the largest count is written: away from the lines."""
        return any(mark.x > 0.75 * WIDTH for mark in self.marks)


@dataclass(frozen=True, slots=True)
class Scale:
    """Bin edges, in a space where they are evenly spaced."""

    low: float
    step: float
    count: int
    ticks: Sequence[float]
    spell: Callable[[float], str]
    gap: int = 0
    """Between the last value of a bin and the first of the next."""

    def edge(self, place: int) -> float:
        return self.low + place * self.step

    def x(self, value: float) -> float:
        """Where a value is drawn; beyond either end, at that end."""
        part = (value - self.low) / (self.step * self.count)
        return LEFT + (WIDTH - LEFT - RIGHT) * min(1.0, max(0.0, part))


_RATIO_TICKS = (1 / 8, 1 / 4, 1 / 2, 2 / 3, 4 / 5, 1, 5 / 4, 3 / 2, 2, 4, 8)


def histogram(title: str, values: Sequence[int], unit: str, note: str = "") -> Histogram:
    """Of whole numbers, with the median marked."""
    if not values:
        return Histogram(title, unit, (), (), (), 0, note)
    ordered = sorted(values)
    top = _top(ordered)
    step = _round_step((top - ordered[0]) / _BINS)
    low = math.floor(ordered[0] / step) * step
    count = max(1, math.floor((top - low) / step) + 1)
    tick = _round_step(step * count / _TICKS)
    ticks = range(math.ceil(low / tick) * tick, low + step * count + 1, tick)
    median = _at(ordered, 0.5)
    marks = {f"median {number(median)}": median}
    said = f"{number(len(ordered))} values from {number(ordered[0])} to {number(ordered[-1])} {unit}."
    said += " The grey bar holds all above." if ordered[-1] >= low + step * count else ""
    return _drawn(
        title, unit, ordered, Scale(low, step, count, ticks, _spelled, gap=1), marks, f"{said} {note}"
    )


def ratio_histogram(title: str, ratios: Sequence[float], note: str = "") -> Histogram:
    """Of ratios, on a scale where twice as long and half as long are equally far from 1."""
    if not ratios:
        return Histogram(title, "", (), (), (), 0, note)
    logs = sorted(math.log2(ratio) for ratio in ratios)
    reach = max(0.1, -logs[0], logs[-1])
    half = _BINS // 2
    ticks = [tick for tick in (math.log2(ratio) for ratio in _RATIO_TICKS) if abs(tick) <= reach]
    scale = Scale(-reach, reach / half, 2 * half, ticks, lambda value: f"{2**value:.3g}")
    return _drawn(title, "times", logs, scale, {"equally long": 0.0}, note)


def _top(ordered: Sequence[int]) -> int:
    """The largest value that has a bin of its own kind."""
    lower, upper = _at(ordered, 0.25), _at(ordered, 0.75)
    top = _at(ordered, _TAIL)
    return min(top, math.ceil(upper + _FAR * (upper - lower))) if upper > lower else top


def _round_step(step: float) -> int:
    """The next larger of 1, 2, 5, 10, 20, 50 and so on."""
    if step <= 1:
        return 1
    magnitude = 10 ** math.floor(math.log10(step))
    return int(next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= step))


def _drawn(
    title: str, unit: str, ordered: Sequence[float], scale: Scale, marks: Mapping[str, float], note: str
) -> Histogram:
    counts = _counts(ordered, scale)
    most = max(counts)
    bins = tuple(_bin(scale, place, count, most, ordered[-1]) for place, count in enumerate(counts))
    ticks = tuple(_mark(scale.spell(tick), scale.x(tick), 16) for tick in scale.ticks)
    lines = tuple(_mark(text, scale.x(value), 50) for text, value in marks.items())
    return Histogram(title, unit, bins, ticks, lines, most, note)


def _counts(ordered: Sequence[float], scale: Scale) -> list[int]:
    """Values in each bin; whatever is beyond the last edge belongs to the last bin."""
    counts = [0] * scale.count
    edges = [scale.edge(place) for place in range(1, scale.count)]
    for value in ordered:
        counts[bisect_right(edges, value)] += 1
    return counts


def _bin(scale: Scale, place: int, count: int, most: int, largest: float) -> Bin:
    low, high = scale.edge(place), scale.edge(place + 1)
    tail = place == scale.count - 1 and largest >= high + scale.step * 1e-9
    text = (
        f"{scale.spell(low)} and more" if tail else f"{scale.spell(low)} to {scale.spell(high - scale.gap)}"
    )
    height = (HEIGHT - TOP - BOTTOM) * count / most
    x, end = scale.x(low), scale.x(high)
    return Bin(text, count, x + 0.5, HEIGHT - BOTTOM - height, max(0.5, end - x - 1), height, tail)


def _mark(text: str, x: float, room: int) -> Mark:
    """Words that need more room than there is to either side begin or end at their place."""
    anchor = "start" if x < room else "end" if x > WIDTH - room else "middle"
    return Mark(text, x, anchor)


def _at(ordered: Sequence[int], place: float) -> int:
    return ordered[round(place * (len(ordered) - 1))]


def _spelled(value: float) -> str:
    return number(int(value))
