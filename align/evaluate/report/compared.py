"""Which of several rates is the best, where the intervals let one say so."""

from collections.abc import Sequence
from enum import StrEnum

from align.evaluate.results import Rate
from policies.bundle import Interval


class Mark(StrEnum):
    """What is said beside a rate."""

    NONE = ""
    BEST = "best"
    """Its interval overlaps no other."""
    AMONG = "≈ best"
    """The best value, or one whose interval overlaps the best value's: between these no order is claimed."""


def overlap(one: Interval, other: Interval) -> bool:
    """Whether the intervals have a point in common."""
    return one.low <= other.high and other.low <= one.high


def marks(rates: Sequence[Rate | None]) -> tuple[Mark, ...]:
    """For each of the rates of one measure; nothing is marked where all that could be told are alike."""
    told = [(one.rate, one.better) for one in rates if one and one.rate]
    if not told:
        return (Mark.NONE,) * len(rates)
    pick = min if told[0][1] == "lower" else max
    best = pick((rate for rate, _ in told), key=lambda rate: rate.value)
    leading = [bool(one and one.rate and overlap(one.rate, best)) for one in rates]
    if sum(leading) == len(told):
        return (Mark.NONE,) * len(rates)
    sign = Mark.BEST if sum(leading) == 1 else Mark.AMONG
    return tuple(sign if leads else Mark.NONE for leads in leading)
