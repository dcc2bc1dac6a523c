"""What a stage is given and what it tells: the recipe, the run's folders, and a count of rows.

The names of stages and of the files that they leave are here too, for whoever reads a run's directory
and makes none: this module knows no stage and nothing that asks or trains.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from align.recipe import Recipe
from align.records import Dropped, Row, read_rows, write_rows
from align.stages.drops import counted
from policies.catalog import Catalog
from policies.formats import FORMATS, ReasoningFormat

JOURNEY = (
    "queries", "describe", "categorise", "trajectories", "gates", "score", "select",
    "mine", "derive", "pairs", "sft", "srpo", "bundle", "evaluate",
)  # fmt: skip
"""The stages in the order in which a row meets them, each with a folder of its name."""
ROWS_FILE = "rows.jsonl"
DROPPED_FILE = "dropped.jsonl"
CALLS_FILE = "calls.json"
"""What a stage's last attempt asked and spent."""
SCORED_FILE = "scored.jsonl"
"""Every trajectory that was scored, whether it is kept or not."""
CARDS_FILE = "report_cards.json"
"""The evaluation's cards by model."""

RowT = TypeVar("RowT", bound=Row)


@dataclass(frozen=True)
class Made:
    """What a stage has made."""

    rows: int
    dropped: Counter[str] = field(default_factory=Counter)
    result_digest: str | None = None
    """Given by stages that leave something else than rows."""


@dataclass(frozen=True)
class Workspace:
    """One run: its recipe, its policies and the directory with a folder for each stage."""

    recipe: Recipe
    catalog: Catalog
    directory: Path
    workers: int = 1
    """Processes that ask models side by side, on one machine or many."""

    @property
    def reasoning_format(self) -> ReasoningFormat:
        return FORMATS[self.recipe.trajectories.reasoning_format]

    def folder(self, stage: str) -> Path:
        return self.directory / stage

    def rows(self, stage: str, row_type: type[RowT]) -> Iterator[RowT]:
        """The rows that an earlier stage left."""
        return read_rows(self.folder(stage) / ROWS_FILE, row_type)

    def leave(self, stage: str, rows: Iterable[Row], dropped: Iterable[Dropped] = ()) -> Made:
        """Write a stage's rows and drops."""
        drops = list(dropped)
        write_rows(self.folder(stage) / DROPPED_FILE, drops)
        return Made(write_rows(self.folder(stage) / ROWS_FILE, rows), counted(drops))
