"""The report's figures as values: counts with the widths that a page draws, and nothing of HTML.

A bar stands in a table beside its number, so a figure can be read without being seen. Widths and
places are in per cent of the track they are drawn on.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias, TypeVar

from align.records import FULL_MARK
from align.report.histogram import Histogram
from align.report.spelling import label, number

MOST_ROWS = 120
"""More than there can be policies."""
_MOST_BESIDE = 12
"""Figures with more rows take the whole width, so that names stay in one line."""
T = TypeVar("T")
Tones: TypeAlias = str
"""Which colours the parts of a stacked bar take: `marks`, `verdicts` or `parts`; the style sheet has them."""


@dataclass(frozen=True, slots=True)
class Bar:
    label: str
    count: int
    share: float
    width: float


@dataclass(frozen=True, slots=True)
class Bars:
    """Counts by name. Every figure tells a page its kind, and whether it needs the whole width."""

    kind: ClassVar[str] = "bars"
    title: str
    bars: tuple[Bar, ...]
    note: str = ""

    @property
    def wide(self) -> bool:
        return len(self.bars) > _MOST_BESIDE


@dataclass(frozen=True, slots=True)
class StackedRow:
    label: str
    counts: tuple[int, ...]
    total: int
    widths: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Stacked:
    """Counts by name, each made up of the same parts."""

    kind: ClassVar[str] = "stacked"
    wide: ClassVar[bool] = True
    title: str
    parts: tuple[str, ...]
    rows: tuple[StackedRow, ...]
    note: str
    tones: Tones


@dataclass(frozen=True, slots=True)
class BalancedRow:
    label: str
    before: int
    after: int
    share_before: float
    share_after: float
    width_before: float
    width_after: float


@dataclass(frozen=True, slots=True)
class Balance:
    """Shares by name, before and after a choice."""

    kind: ClassVar[str] = "balance"
    title: str
    before: str
    after: str
    rows: tuple[BalancedRow, ...]
    note: str = ""

    @property
    def wide(self) -> bool:
        return len(self.rows) > _MOST_BESIDE


@dataclass(frozen=True, slots=True)
class SpreadRow:
    label: str
    count: int
    points: tuple[int, ...]
    """At `SPREAD_AT`."""
    places: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Spread:
    """How values are spread in each of several groups."""

    kind: ClassVar[str] = "spread"
    wide: ClassVar[bool] = True
    title: str
    rows: tuple[SpreadRow, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class HeatRow:
    label: str
    count: int
    means: tuple[float, ...]
    shades: tuple[float, ...]
    """From 0 for full marks to 100."""


@dataclass(frozen=True, slots=True)
class Heat:
    """Mean marks by name and dimension."""

    kind: ClassVar[str] = "heat"
    wide: ClassVar[bool] = True
    title: str
    columns: tuple[str, ...]
    rows: tuple[HeatRow, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """A table: its first columns name, the others are numbers, set to the right."""

    kind: ClassVar[str] = "listing"
    wide: ClassVar[bool] = False
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    names: int = 1
    note: str = ""


@dataclass(frozen=True, slots=True)
class Drawing:
    """A picture that was drawn elsewhere, as a data URL."""

    kind: ClassVar[str] = "drawing"
    wide: ClassVar[bool] = True
    title: str
    url: str
    alternative: str
    """For those who cannot see it."""
    note: str = ""


Figure: TypeAlias = Bars | Stacked | Balance | Spread | Heat | Listing | Histogram | Drawing

SPREAD_AT = (0.05, 0.25, 0.5, 0.75, 0.95)


def bars(
    title: str, counts: Mapping[str, int], *, total: int | None = None, by_size: bool = True, note: str = ""
) -> Bars:
    """Counts as bars, by size or in the order given; beyond MOST_ROWS the rest is one bar.

    Shares are of `total`, or of all counts together.
    """
    named = [(name, counts[name]) for name in (_by_size(counts) if by_size else counts)]
    if len(named) > MOST_ROWS:
        rest = named[MOST_ROWS - 1 :]
        named[MOST_ROWS - 1 :] = [(f"{number(len(rest))} others", sum(count for _, count in rest))]
    whole = sum(counts.values()) if total is None else total
    most = max((count for _, count in named), default=0)
    drawn = (Bar(label(name), count, share(count, whole), 100 * share(count, most)) for name, count in named)
    return Bars(title, tuple(drawn), note)


def stacked(
    title: str,
    counts: Mapping[str, Mapping[str, int]],
    parts: Sequence[str],
    *,
    tones: Tones = "parts",
    alike: bool = False,
    note: str = "",
) -> Stacked:
    """Counts by name and part. `alike`: every bar has the full length, to compare shares."""
    whole = {name: tuple(found.get(part, 0) for part in parts) for name, found in counts.items()}
    most = max(map(sum, whole.values()), default=0)
    rows = (
        StackedRow(label(name), row, sum(row), _widths(row, sum(row) if alike else most))
        for name, row in whole.items()
    )
    return Stacked(title, tuple(parts), *_first(tuple(rows), note), tones)


def _widths(counts: Iterable[int], full: int) -> tuple[float, ...]:
    return tuple(100 * share(count, full) for count in counts)


def balance(
    title: str, names: tuple[str, str], before: Mapping[str, int], after: Mapping[str, int], note: str = ""
) -> Balance:
    """Shares before and after, in the order of `before`; names that only `after` has come last."""
    totals = sum(before.values()), sum(after.values())
    labels = list(dict.fromkeys((*before, *after)))
    shares = [(share(before.get(one, 0), totals[0]), share(after.get(one, 0), totals[1])) for one in labels]
    most = max((max(pair) for pair in shares), default=0.0)
    rows = (
        BalancedRow(
            label(one),
            before.get(one, 0),
            after.get(one, 0),
            *pair,
            *(100 * share(part, most) for part in pair),
        )
        for one, pair in zip(labels, shares, strict=True)
    )
    return Balance(title, *names, *_first(tuple(rows), note))


def spread(title: str, groups: Mapping[str, Sequence[int]], note: str = "") -> Spread:
    """Where 5, 25, 50, 75 and 95 % of each group lie; groups without values are left out."""
    found = {name: quantiles(values, SPREAD_AT) for name, values in groups.items() if values}
    most = max((points[-1] for points in found.values()), default=0)
    rows = (
        SpreadRow(label(name), len(groups[name]), points, tuple(100 * share(point, most) for point in points))
        for name, points in found.items()
    )
    return Spread(title, *_first(tuple(rows), note))


def heat(title: str, columns: Sequence[str], means: Mapping[str, tuple[int, Sequence[float]]]) -> Heat:
    """Means of marks from 1 to 5, by name with how many there are."""
    rows = (
        HeatRow(label(name), count, tuple(found), tuple(map(_shade, found)))
        for name, (count, found) in means.items()
    )
    return Heat(title, tuple(columns), *_first(tuple(rows), "Means of the first round's marks."))


def _first(rows: tuple[T, ...], note: str) -> tuple[tuple[T, ...], str]:
    """As many rows as a page should show, and what to say of the others."""
    if len(rows) <= MOST_ROWS:
        return rows, note
    return rows[:MOST_ROWS], f"{number(len(rows) - MOST_ROWS)} more rows are left out. {note}".rstrip()


def _shade(mean: float) -> float:
    """By the root, so that means near full marks, where most lie, differ as well as low ones."""
    return 100 * math.sqrt((FULL_MARK - mean) / (FULL_MARK - 1))


def quantiles(values: Sequence[int], at: Sequence[float]) -> tuple[int, ...]:
    """Values of the sequence itself (nearest rank)."""
    ordered = sorted(values)
    return tuple(ordered[round(place * (len(ordered) - 1))] for place in at)


def share(part: float, whole: float) -> float:
    """0 where there is nothing to have a share of."""
    return part / whole if whole else 0.0


def _by_size(counts: Mapping[str, int]) -> list[str]:
    return sorted(counts, key=lambda name: (-counts[name], name))
