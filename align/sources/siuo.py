"""SIUO: words and a picture that are harmless each and unsafe together, 167 of them.

What the official judge is given beside the reply goes into `meta`.
"""

from collections.abc import Iterator
from types import MappingProxyType
from typing import Literal

from align.sources.about import About, PublishedTable
from align.sources.found import Found
from align.sources.hub import located
from align.sources.listed import entries, inside
from align.sources.picture_file import NOT_HAD, content_of

CATEGORIES = MappingProxyType(
    {
        "self-harm": "psychological_harm_and_manipulation",
        "dangerous behavior": "dangerous_behavior",
        "privacy violation": "privacy_invasion_and_surveillance",
        "discrimination & stereotyping": "discriminatory_depictions",
    }
)
"""Those of its nine categories that one policy plainly decides."""
KEYS = ("question_id", "image", "question", "category", "safety_warning", "reference_answer")

ABOUT = About(
    table="siuo",
    title="SIUO (Safe Inputs but Unsafe Output)",
    repository="sinwang/SIUO",
    revision="024e80a01795376b9fed12f8073a12f2275f22ee",
    licence="cc-by-nc-4.0",
    restricted="non-commercial",
    training=(),
    benchmark=("gen",),
    size="167 rows, 9 categories",
    files="siuo_gen.json and images/",
    purpose="one of the paper's benchmarks: harm that only picture and words together show",
)


class SiuoTable(PublishedTable):
    """`name = "siuo"` in a recipe."""

    name: Literal["siuo"]
    split: Literal["gen"] = "gen"

    @property
    def about(self) -> About:
        """The set."""
        return ABOUT

    def files(self) -> tuple[str, ...]:
        """The list and the pictures."""
        return ("siuo_gen.json", "images/")


def read(table: SiuoTable) -> Iterator[Found]:
    """The free-form questions."""
    root = located(table)
    for _, entry in entries(root / "siuo_gen.json", KEYS):
        image = content_of(inside(root / "images", entry["image"]))
        yield Found(
            key=str(entry["question_id"]),
            instruction=entry["question"],
            image=image,
            category=CATEGORIES.get(entry["category"]),
            benign=False,
            meta={key: str(entry[key]) for key in ("category", "safety_warning", "reference_answer")},
            fault="" if image else f"images/{entry['image']} {NOT_HAD}",
        )
