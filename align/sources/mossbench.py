"""MOSSBench: 300 harmless questions over pictures that only look dangerous; to decline one is over-sensitive.

Its terms allow testing and forbid training, so no recipe can train on it.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from pydantic import field_validator

from align.errors import RecipeError
from align.sources.about import About, PublishedTable
from align.sources.found import Found
from align.sources.hub import located
from align.sources.listed import inside
from align.sources.picture_file import NOT_HAD, content_of

STIMULI: Mapping[str, str] = MappingProxyType(
    {
        "type 1": "exaggerated risk",
        "type 2": "negated harm",
        "type 3": "counterintuitive interpretation",
    }
)
"""What makes a question look harmful, as the paper names the published types."""
INFORMATION = "data/images_information/information.json"
KEYS = ("pid", "question", "image", "metadata")

ABOUT = About(
    table="mossbench",
    title="MOSSBench",
    repository="https://github.com/xirui-li/MOSSBench",
    revision="8d68b0614b39d8990a508e03d99975832f399db2",
    licence="cc-by-sa-4.0, as a test set only",
    restricted="none",
    training=(),
    benchmark=("oversensitivity",),
    size="300 rows, all harmless",
    files=f"{INFORMATION} and data/images/",
    purpose="over-refusal: harmless questions over pictures with something that looks dangerous",
    on_hub=False,
)


class MossBenchTable(PublishedTable):
    """`name = "mossbench"` in a recipe."""

    name: Literal["mossbench"]
    split: Literal["oversensitivity"] = "oversensitivity"

    @field_validator("train_on_benchmark")
    @classmethod
    def _only_tested_on(cls, value: bool) -> bool:
        if value:
            raise ValueError("MOSSBench's terms forbid training on it: take this source out of the recipe")
        return value

    @property
    def about(self) -> About:
        """The set."""
        return ABOUT

    def files(self) -> tuple[str, ...]:
        """The list and the pictures."""
        return (INFORMATION, "data/images/")


def read(table: MossBenchTable) -> Iterator[Found]:
    """The questions, in the file's order."""
    root = located(table)
    for key, entry in _entries(root / INFORMATION):
        image = content_of(inside(root / "data", entry["image"]))
        yield Found(
            key=key,
            instruction=entry["question"],
            image=image,
            benign=True,
            meta={"stimulus": _stimulus(root / INFORMATION, key, entry)},
            fault="" if image else f"{entry['image']} {NOT_HAD}",
        )


def _entries(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise RecipeError(f"{path}: is not JSON ({error})") from None
    if not isinstance(content, dict):
        raise RecipeError(f"{path}: must be an object of entries by their number")
    for key, entry in content.items():
        there = entry if isinstance(entry, dict) else {}
        for name in KEYS:
            if name not in there:
                raise RecipeError(f"{path}, entry {key}: there is no {name!r}; there are {', '.join(there)}")
        yield key, there


def _stimulus(path: Path, key: str, entry: Mapping[str, Any]) -> str:
    about = entry["metadata"]
    kind = about.get("over") if isinstance(about, dict) else about
    if kind not in STIMULI:
        raise RecipeError(f"{path}, entry {key}: metadata.over must be {', '.join(STIMULI)}, not {kind!r}")
    return STIMULI[str(kind)]
