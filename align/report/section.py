"""What the report says of one stage beyond its counts: sentences, figures, and a few of its rows."""

from dataclasses import dataclass

from align.report.figures import Figure


@dataclass(frozen=True, slots=True)
class Example:
    """One row, as named texts."""

    id: str
    texts: tuple[tuple[str, str], ...]
    beside: tuple[tuple[str, str], ...] = ()
    """Texts to be compared, side by side where there is room."""


@dataclass(frozen=True, slots=True)
class Body:
    """What a stage's rows say."""

    rows: int
    queries: int
    """How many different queries they belong to."""
    figures: tuple[Figure, ...]
    said: tuple[str, ...] = ()
    examples: tuple[Example, ...] = ()
    pictures: tuple[tuple[str, str], ...] = ()
    """Small pictures as data URLs, each with its row's id."""
