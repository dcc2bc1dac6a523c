"""A table as values: rows in groups, cells with a number, its interval and what must be said beside it."""

from dataclasses import dataclass, field

from align.evaluate.report.compared import Mark
from align.evaluate.results import Rate
from align.report.spelling import number, percent
from policies.bundle import Interval

NOT_MEASURED = "not measured"
MINUS = "\u2212"


@dataclass(frozen=True, slots=True)
class Cell:
    """One number. Only `text` is always there."""

    text: str
    interval: str = ""
    remark: str = ""
    mark: Mark = Mark.NONE
    quiet: bool = False
    """Whether it says that there is no number."""
    bar: float | None = None
    """Length of the bar under it, in per cent."""


@dataclass(frozen=True, slots=True)
class Head:
    """What stands over a column or before a row."""

    text: str
    below: str = ""
    better: str = ""
    """"lower" or "higher" where that is better."""


@dataclass(frozen=True, slots=True)
class Line:
    head: Head
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Lines that belong together."""

    lines: tuple[Line, ...]
    title: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Grid:
    """The table. `many`: so many columns that intervals go below their numbers."""

    title: str
    corner: str
    columns: tuple[Head, ...]
    groups: tuple[Group, ...]
    note: str = ""
    many: bool = False
    words: frozenset[int] = field(default=frozenset())
    """Columns that hold words, from 0: they are set to the left."""


def rate_cell(rate: Rate | None, mark: Mark = Mark.NONE) -> Cell:
    """A rate as readers see it: a missing one says why, and is never blank or 0."""
    if rate is None:
        return Cell(NOT_MEASURED, quiet=True)
    if rate.rate is None:
        return Cell("unscored", f"({number(rate.unscored)} of {number(rate.n)})", quiet=True)
    return Cell(percent(rate.rate.value), spelled(rate.rate), remark(rate), mark)


def remark(rate: Rate) -> str:
    """What is said beside a rate of what it is over: ties wherever there can be any."""
    ties = None if rate.ties is None else f"{number(rate.ties)} tie{'' if rate.ties == 1 else 's'}"
    return ", ".join(filter(None, (ties, f"{number(rate.unscored)} unscored" if rate.unscored else "")))


def counted(n: int, distinct: int | None) -> str:
    """Samples, and how many requests are among them where that is known."""
    return number(n) if distinct is None else f"{number(n)} ({number(distinct)})"


def spelled(interval: Interval) -> str:
    """The ends, in per cent."""
    return f"[{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def points(interval: Interval) -> Cell:
    """A difference of shares in percentage points."""
    value, low, high = (signed(100 * part, 1) for part in (interval.value, interval.low, interval.high))
    return Cell(value, f"[{low}, {high}]")


def signed(value: float, digits: int) -> str:
    """With its sign, and a true minus."""
    text = f"{value:+.{digits}f}".replace("-", MINUS)
    return text.lstrip(f"+{MINUS}") if not float(f"{value:.{digits}f}") else text
