"""SPA-VL: questions about pictures with preferred and rejected replies, of which the questions are read.

Its own classes are no policies, so every row goes to the categoriser.
"""

from collections.abc import Iterator
from typing import Literal

from align.sources.about import About, PublishedTable
from align.sources.found import Found
from align.sources.hub import located
from align.sources.parquet import image_bytes, rows_in_turn

SHARDS = 8
COLUMNS = ("image", "question")
CLASSES = ("class1", "class2", "class3")
"""Domain, category and subcategory; the training split has none."""

ABOUT = About(
    table="spa-vl",
    title="SPA-VL",
    repository="sqrti/SPA-VL",
    revision="86c90059aa1af1c7e6344d8ba7c5dc9ceddd2b8b",
    licence="cc-by-4.0",
    restricted="none",
    training=("train", "validation"),
    benchmark=("harm", "help"),
    size="93,258 training and 7,000 validation rows (4.1 GB); 265 rows each of harm and help",
    files=(
        "data/train-0000N-of-00008.parquet or validation/validation-00000-of-00001.parquet, "
        "and test/harm-00000-of-00001.parquet and test/help-00000-of-00001.parquet"
    ),
    purpose="a large free training pool; harm is one of the paper's benchmarks",
)


class SpaVlTable(PublishedTable):
    """`name = "spa-vl"` in a recipe."""

    name: Literal["spa-vl"]
    split: Literal["train", "validation", "harm", "help"]

    @property
    def about(self) -> About:
        """The set."""
        return ABOUT

    def files(self) -> tuple[str, ...]:
        """The split's shards."""
        match self.split:
            case "train":
                return tuple(f"data/train-{shard:05}-of-{SHARDS:05}.parquet" for shard in range(SHARDS))
            case "validation":
                return ("validation/validation-00000-of-00001.parquet",)
            case _:
                return (f"test/{self.split}-00000-of-00001.parquet",)


def read(table: SpaVlTable) -> Iterator[Found]:
    """Questions, shard by shard in turn."""
    root = located(table)
    files = {str(shard): root / name for shard, name in enumerate(table.files())}
    for shard, number, row in rows_in_turn(files, COLUMNS, optional=CLASSES):
        yield Found(
            key=f"{shard}/{number}",
            instruction=row["question"] or "",
            image=image_bytes(row["image"], f"spa-vl, shard {shard}, row {number}"),
            benign=False if table.split == "harm" else None,
            meta={name: row[name] for name in CLASSES if row.get(name)},
        )
