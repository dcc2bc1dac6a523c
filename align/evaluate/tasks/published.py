"""What the tasks over published sets have in common: reading a set's evaluation split."""

from collections.abc import Iterator

from pydantic import TypeAdapter, ValidationError

from align.errors import RecipeError
from align.sources import catalogue
from align.sources.about import PublishedTable
from align.sources.catalogue import Source
from align.sources.found import Found
from align.sources.hub import check_files


def rows(name: str, path: str | None, **keys: str) -> Iterator[Found]:
    """The rows of a source under its name in recipes; RecipeError where its files cannot be had.

    A licence is accepted where something is made of a set; to evaluate on it makes nothing.
    """
    tables: TypeAdapter[Source] = TypeAdapter(Source)
    try:
        table = tables.validate_python({"name": name, "path": path, **keys})
    except ValidationError as error:
        raise RecipeError(f"{name}: {error.errors()[0]['msg']}") from None
    if isinstance(table, PublishedTable):
        check_files(table)
    return catalogue.read(table)
