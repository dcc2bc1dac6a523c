"""The lab's world as a source: situations of a split.

Nothing of the truth goes into a query but the policy it is near to: what a categoriser would say.
"""

import io
from collections.abc import Iterator
from typing import Literal

from pydantic import Field, PositiveInt, field_validator

from align.mini.scenes import Scene, render
from align.mini.world import PRETRAINING, situations
from align.recipe_tables import SourceTable
from align.sources.found import Found

LICENCE = "MIT and Apache-2.0 (pictures: align/mini/pictures/NOTICE.md)"


class MiniTable(SourceTable):
    """`name = "mini"` in a recipe."""

    name: Literal["mini"]
    split: str = Field(pattern=r"^[a-z]+$")
    """Splits of the lab's world share no seed; train on one and evaluate on another."""

    @field_validator("split")
    @classmethod
    def _held_out(cls, split: str) -> str:
        if split == PRETRAINING:
            raise ValueError(f"{split!r} is what the base model learned from, with all that is held out")
        return split

    count: PositiveInt
    """Situations drawn; the world has no end of them."""


def read(table: MiniTable) -> Iterator[Found]:
    """The situations of a split."""
    for situation in situations(table.split, table.count):
        truth = situation.truth
        yield Found(
            key=situation.seed,
            instruction=situation.instruction,
            image=png(situation.scene),
            category=truth.policy or truth.look_alike,
            benign=not truth.harmful,
            severity=None,
            meta={"seed": situation.seed},
        )


def png(scene: Scene) -> bytes:
    """The scene's picture as a file; the same bytes for the same scene."""
    file = io.BytesIO()
    render(scene).save(file, "PNG")
    return file.getvalue()
