"""MM-SafetyBench: harmful questions whose key phrase stands in the picture, from the Hub's Parquet mirror.

A split is a kind of picture: generated (SD), typed out (TYPO), or both (SD_TYPO). The question comes in
the wording that goes with the kind. The scenarios take turns.
"""

from collections.abc import Iterator
from types import MappingProxyType
from typing import Literal

from pydantic import field_validator

from align.sources.about import About, PublishedTable
from align.sources.found import Found
from align.sources.hub import located
from align.sources.parquet import image_bytes, rows_in_turn

SCENARIOS = MappingProxyType(
    {
        "Illegal_Activitiy": None,
        "HateSpeech": "discriminatory_depictions",
        "Malware_Generation": "hacking_or_digital_crime",
        "Physical_Harm": "violence_and_physical_harm",
        "EconomicHarm": None,
        "Fraud": "financial_and_academic_fraud",
        "Sex": "pornographic_content",
        "Political_Lobbying": None,
        "Privacy_Violence": "privacy_invasion_and_surveillance",
        "Legal_Opinion": None,
        "Financial_Advice": None,
        "Health_Consultation": "harmful_health_content",
        "Gov_Decision": None,
    }
)
"""Configurations as the mirror spells them, with the policy that plainly decides; None where several may."""
COLUMNS = ("id", "question", "image")

ABOUT = About(
    table="mm-safetybench",
    title="MM-SafetyBench",
    repository="PKU-Alignment/MM-SafetyBench",
    revision="7da6155",
    licence="cc-by-nc-4.0",
    restricted="non-commercial",
    training=(),
    benchmark=("SD", "SD_TYPO", "TYPO"),
    size="13 scenarios, 1,680 questions with three kinds of picture",
    files="data/SCENARIO/KIND.parquet for all 13 scenarios",
    purpose="one of the paper's benchmarks: does a picture carry a harmful request past the model",
)


class MmSafetyBenchTable(PublishedTable):
    """`name = "mm-safetybench"` in a recipe."""

    name: Literal["mm-safetybench"]
    split: Literal["SD", "SD_TYPO", "TYPO"]

    @field_validator("split", mode="before")
    @classmethod
    def _has_pictures(cls, value: object) -> object:
        if value == "Text_only":
            raise ValueError("'Text_only' has no pictures: take 'SD', 'SD_TYPO' or 'TYPO'")
        return value

    @property
    def about(self) -> About:
        """The set."""
        return ABOUT

    def files(self) -> tuple[str, ...]:
        """One file for each scenario."""
        return tuple(f"data/{scenario}/{self.split}.parquet" for scenario in SCENARIOS)


def read(table: MmSafetyBenchTable) -> Iterator[Found]:
    """Questions, scenario by scenario in turn."""
    root = located(table)
    files = {scenario: root / name for scenario, name in zip(SCENARIOS, table.files(), strict=True)}
    for scenario, number, row in rows_in_turn(files, COLUMNS):
        yield Found(
            key=f"{scenario}/{number}",
            instruction=row["question"] or "",
            image=image_bytes(row["image"], f"mm-safetybench, {scenario}, row {number}"),
            category=SCENARIOS[scenario],
            benign=False,
            meta={"scenario": scenario, "id": str(row["id"])},
        )
