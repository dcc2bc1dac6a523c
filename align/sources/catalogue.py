"""Every source a recipe can name: the table that it takes there, and how it is checked and read."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Annotated, TypeAlias

from pydantic import Field, TypeAdapter

from align.errors import RecipeError
from align.sources import (
    beavertails_v,
    local,
    mini,
    mm_safetybench,
    mmsafetyaware,
    mossbench,
    siuo,
    spa_vl,
    vlguard,
)
from align.sources.about import About, PublishedTable, require_permission
from align.sources.beavertails_v import BeaverTailsTable
from align.sources.found import Found
from align.sources.hub import check_files
from align.sources.local import LocalTable
from align.sources.mini import MiniTable
from align.sources.mm_safetybench import MmSafetyBenchTable
from align.sources.mmsafetyaware import MmSafetyAwareTable
from align.sources.mossbench import MossBenchTable
from align.sources.siuo import SiuoTable
from align.sources.spa_vl import SpaVlTable
from align.sources.vlguard import VlGuardTable

Source: TypeAlias = Annotated[
    BeaverTailsTable
    | LocalTable
    | MiniTable
    | MmSafetyAwareTable
    | MmSafetyBenchTable
    | MossBenchTable
    | SiuoTable
    | SpaVlTable
    | VlGuardTable,
    Field(discriminator="name"),
]

MINI = About(
    table="mini",
    title="the lab's world",
    repository="",
    revision="",
    licence=mini.LICENCE,
    restricted="none",
    training=("any",),
    benchmark=(),
    size="any number of rows, drawn from seeds",
    files="none",
    purpose="tests, trials and training of the mini model",
    on_hub=False,
)
ABOUT: Mapping[str, About] = MappingProxyType(
    {
        about.table: about
        for about in (
            MINI,
            local.ABOUT,
            beavertails_v.PAIRS,
            beavertails_v.SINGLE,
            spa_vl.ABOUT,
            vlguard.ABOUT,
            mm_safetybench.ABOUT,
            siuo.ABOUT,
            mmsafetyaware.ABOUT,
            mossbench.ABOUT,
        )
    }
)
"""By what a recipe names: the source, and after a slash a repository other than the usual one."""


def published_tables(about: About) -> Iterator[PublishedTable]:
    """A table for each split of a published set, as a recipe would take it."""
    name, _, repository = about.table.partition("/")
    tables: TypeAdapter[Source] = TypeAdapter(Source)
    for split in (*about.training, *about.benchmark):
        keys = {"name": name, "split": split} | ({"repository": repository} if repository else {})
        if isinstance(table := tables.validate_python(keys), PublishedTable):
            yield table


def about(table: Source) -> About:
    """The set that a table takes, as the recipe takes it."""
    match table:
        case MiniTable():
            return MINI
        case LocalTable():
            return replace(local.ABOUT, licence=table.licence)
        case _:
            return table.about


def source_name(table: Source) -> str:
    """What the rows' source is called."""
    return table.label if isinstance(table, LocalTable) else table.name


def check(table: Source) -> None:
    """RecipeError, before any work, where a source may not or cannot be read; nothing is downloaded yet."""
    match table:
        case LocalTable():
            if table.label in ABOUT and table.label != table.name:
                raise RecipeError(f"source 'local': the label {table.label!r} is another source's name")
            local.check(table)
        case PublishedTable():
            require_permission(table)
            check_files(table)


def read(table: Source) -> Iterator[Found]:
    """What the source holds, in its own order."""
    match table:
        case MiniTable():
            return mini.read(table)
        case LocalTable():
            return local.read(table)
        case BeaverTailsTable():
            return beavertails_v.read(table)
        case MmSafetyBenchTable():
            return mm_safetybench.read(table)
        case SpaVlTable():
            return spa_vl.read(table)
        case SiuoTable():
            return siuo.read(table)
        case MmSafetyAwareTable():
            return mmsafetyaware.read(table)
        case MossBenchTable():
            return mossbench.read(table)
        case VlGuardTable():
            return vlguard.read(table)


def evaluation_images(table: Source) -> Iterator[bytes]:
    """The images of the set's own benchmark splits, which its training rows must not show."""
    if isinstance(table, PublishedTable):
        for held_out in table.held_out():
            yield from (found.image for found in read(held_out))
