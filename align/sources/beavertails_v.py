"""BeaverTails-V: questions about pictures in the twenty categories that the policies are named after.

Two repositories hold it: pairs of replies, and single replies, where every question appears twice with
its picture (the second is dropped later as a duplicate). Both are read for question and picture alone.
The categories take turns, so that a `count` below all rows has every one of them.
"""

from collections.abc import Iterator
from typing import Any, Literal

from align.errors import RecipeError
from align.sources.about import About, PublishedTable
from align.sources.found import Found
from align.sources.hub import located
from align.sources.parquet import image_bytes, rows_in_turn

CATEGORIES = (
    "animal_abuse",
    "dangerous_behavior",
    "deception_in_personal_relationships",
    "discriminatory_depictions",
    "environmental_damage",
    "false_information",
    "financial_and_academic_fraud",
    "hacking_or_digital_crime",
    "harmful_health_content",
    "horror_and_gore",
    "identity_misuse_and_impersonation",
    "insulting_and_harassing_behavior",
    "pornographic_content",
    "privacy_invasion_and_surveillance",
    "psychological_harm_and_manipulation",
    "psychological_horror_and_dark_themes",
    "sensitive_information_in_key_areas",
    "sexual_crimes",
    "terrorism_or_extremism",
    "violence_and_physical_harm",
)
"""Configurations of both repositories; the slugs of the packaged policies."""
COLUMNS = ("question", "image", "image_severity")

PAIRS = About(
    table="beavertails-v",
    title="BeaverTails-V, pairs of replies",
    repository="saferlhf-v/BeaverTails-V",
    revision="ee19041205c720c0faea575de563de8a6a8f9094",
    licence="cc-by-nc-4.0",
    restricted="non-commercial",
    training=("train",),
    benchmark=("evaluation",),
    size="20 categories, 3.5 GiB of training rows; 590 evaluation rows",
    files="data/CATEGORY/train.parquet and data/CATEGORY/evaluation.parquet for all 20 categories",
    purpose="the paper's own training pool; its evaluation split is one of the paper's benchmarks",
)
SINGLE = About(
    table="beavertails-v/single",
    title="BeaverTails-V, single replies",
    repository="PKU-Alignment/BeaverTails-V",
    revision="f69cb5f",
    licence="cc-by-nc-4.0",
    restricted="non-commercial",
    training=("train",),
    benchmark=("evaluation",),
    size="20 categories; every question twice; 1,180 evaluation rows",
    files=PAIRS.files,
    purpose="the same questions and pictures as the pairs, under another cut; take one of the two",
)


class BeaverTailsTable(PublishedTable):
    """`name = "beavertails-v"` in a recipe."""

    name: Literal["beavertails-v"]
    split: Literal["train", "evaluation"]
    repository: Literal["pairs", "single"] = "pairs"

    @property
    def about(self) -> About:
        """The set in the chosen repository."""
        return PAIRS if self.repository == "pairs" else SINGLE

    def files(self) -> tuple[str, ...]:
        """One file for each category."""
        return tuple(f"data/{category}/{self.split}.parquet" for category in CATEGORIES)


def read(table: BeaverTailsTable) -> Iterator[Found]:
    """Questions, category by category in turn."""
    root = located(table)
    files = {category: root / name for category, name in zip(CATEGORIES, table.files(), strict=True)}
    for category, number, row in rows_in_turn(files, COLUMNS):
        yield _found(category, number, row)


def _found(category: str, number: int, row: dict[str, Any]) -> Found:
    where, severity = f"beavertails-v, {category}, row {number}", row["image_severity"]
    if severity not in (1, 2, 3, None):
        raise RecipeError(f"{where}: image_severity must be 1, 2 or 3, not {severity!r}")
    return Found(
        key=f"{category}/{number}",
        instruction=row["question"] or "",
        image=image_bytes(row["image"], where),
        category=category,
        severity=severity,
    )
