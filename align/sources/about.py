"""What is known of a data set before it is read: where it lies, its licence, what it may be used for.

Knows nothing of how any set is read. The switches that a recipe must set are asked for here, so that
no set is used under terms that nobody has seen.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, Self

from align.errors import RecipeError
from align.recipe_tables import SourceTable

Restriction = Literal["none", "non-commercial", "gated", "research only"]

MEANINGS: Mapping[Restriction, str] = MappingProxyType(
    {
        "non-commercial": "rows made from it and adapters trained on them may not be used commercially",
        "research only": "rows made from it and adapters trained on them may be used for research only",
        "gated": "its owners grant access on request, for research only, adapters trained on it included",
    }
)
"""What a restriction means for whoever trains on a set."""


@dataclass(frozen=True, slots=True)
class About:
    """A data set in words, for messages and lists."""

    table: str
    """What a recipe calls it; after a slash, a repository other than the usual one."""
    title: str
    repository: str
    """Its id on the Hugging Face Hub, or where else it is."""
    revision: str
    """The commit that is read; empty where there is none."""
    licence: str
    restricted: Restriction
    training: tuple[str, ...]
    """Splits that are there to be trained on."""
    benchmark: tuple[str, ...]
    """Splits that models are evaluated on."""
    size: str
    files: str
    """What must lie below `path`."""
    purpose: str
    on_hub: bool = True

    @property
    def kind(self) -> str:
        """`training data` or `benchmark`."""
        return "training data" if self.training else "benchmark"

    @property
    def place(self) -> str:
        """Repository and commit, as in `owner/name@0123456789ab`."""
        return f"{self.repository}@{self.revision[:12]}" if self.revision else self.repository


class PublishedTable(SourceTable):
    """The table of a source that others publish: pinned to a commit, under a licence."""

    without_effect_on_rows = frozenset({"path", "accept_licence", "train_on_benchmark"})

    name: str
    train_on_benchmark: bool = False
    """Take rows that models are evaluated on all the same; their scores there mean nothing afterwards."""

    @property
    @abstractmethod
    def about(self) -> About:
        """The set as this table reads it."""

    @abstractmethod
    def files(self) -> tuple[str, ...]:
        """What the split needs of the published files; folders end with a slash."""

    def held_out(self) -> tuple[Self, ...]:
        """The splits whose images must not be trained on, as tables; none where this is one of them."""
        if self.split in self.about.benchmark:
            return ()
        return tuple(
            self.model_copy(update={"split": split, "count": None}) for split in self.about.benchmark
        )

    def effective(self) -> dict[str, Any]:
        """What decides the rows: also the commit, should a later version of this program read another."""
        return super().effective() | {"revision": self.about.revision}


def require_permission(table: PublishedTable) -> None:
    """RecipeError, with the line to add, where the recipe does not say what the set's terms ask for."""
    about = table.about
    if about.restricted != "none" and table.accept_licence != about.licence:
        raise RecipeError(
            f"source {table.name!r} is under the licence {about.licence!r} ({about.restricted}: "
            f"{MEANINGS[about.restricted]}): if you accept that, add "
            f'accept_licence = "{about.licence}" to its [[sources]] table'
        )
    if table.split in about.benchmark and not table.train_on_benchmark:
        raise RecipeError(
            f"source {table.name!r}, split {table.split!r}, is a benchmark: training on it contaminates "
            "every evaluation on it; if you want that, add train_on_benchmark = true to its [[sources]] table"
        )
