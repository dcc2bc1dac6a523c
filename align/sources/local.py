"""A file of one's own as a source: JSON Lines, CSV or Parquet, with names of columns to choose.

An image is a path below the file's folder, an http(s) URL, a data URL, base64, bytes, or the Hub's struct
of bytes and path. What is wrong with the file stops the run and names the line; an image that cannot be
had costs its row.
"""

import base64
import binascii
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field

from align.errors import RecipeError
from align.manifest import file_digest
from align.recipe_tables import SourceTable
from align.sources.about import About
from align.sources.found import Found
from align.sources.images import MAX_BYTES
from align.sources.listed import inside
from align.sources.tabular import SUFFIXES, Row, columns, place, rows
from align.sources.web import Unavailable, fetch
from align.table import Table

AT_ONCE = 8
"""Images that are fetched side by side."""
AHEAD = 16
"""Rows that may be waiting with their images."""
ABOUT = About(
    table="local",
    title="a file of your own",
    repository="",
    revision="",
    licence="as the recipe says",
    restricted="none",
    training=("any",),
    benchmark=(),
    size="any number of rows",
    files="a .jsonl, .csv or .parquet file",
    purpose="your own images and instructions",
    on_hub=False,
)
_DATA_URL = re.compile(r"data:[^,]*;base64,", re.IGNORECASE)
_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
T = TypeVar("T")
U = TypeVar("U")


class Columns(Table):
    """Which column holds what; those with a default name may be missing from the file."""

    instruction: str = "instruction"
    image: str = "image"
    id: str = "id"
    """Unique; without it rows are called by their line."""
    category: str = "category"
    """A policy's id or slug."""
    severity: str = "severity"
    """Of the image: 1 low, 2, 3 high."""
    benign: str = "benign"
    """Whether the request is harmless."""


class LocalTable(SourceTable):
    """`name = "local"` in a recipe."""

    name: Literal["local"]
    path: Path = Field(strict=False)
    """The file, relative to the recipe's."""
    label: str = Field("local", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    """What the rows' source is called; files in one recipe need different ones."""
    split: str = Field("train", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    licence: str = Field(min_length=1)
    """Travels with every row; you know it, nobody else does."""
    columns: Columns = Columns()

    def effective(self) -> dict[str, Any]:
        """What decides the rows: the file's content, wherever it lies."""
        check(self)
        stat = self.path.stat()
        return super().effective() | {"sha256": _digest(self.path, stat.st_size, stat.st_mtime_ns)}


@cache
def _digest(path: Path, size: int, modified_ns: int) -> str:
    """Read once for each state of the file."""
    return file_digest(path)


def check(table: LocalTable) -> None:
    """RecipeError where the file cannot be read, or lacks a column that the recipe names."""
    path = table.path
    if path.suffix not in SUFFIXES:
        raise RecipeError(f"source 'local': {path}: the suffix must be one of {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise RecipeError(f"source 'local': {path} is missing")
    if path.suffix == ".jsonl":
        return
    there = columns(path)
    for name in _required(table):
        if name not in there:
            raise RecipeError(f"{path}: there is no column {name!r}; there are {', '.join(there) or 'none'}")


def _required(table: LocalTable) -> list[str]:
    """Columns that must be there: the two that every row needs, and those that the recipe names."""
    fields = dict.fromkeys(("instruction", "image", *sorted(table.columns.model_fields_set)))
    return [str(getattr(table.columns, field)) for field in fields]


def read(table: LocalTable) -> Iterator[Found]:
    """The file's rows, in its order."""
    lines: dict[str, int] = {}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for number, found in _ahead(pool, partial(_numbered, table), rows(table.path)):
            if found.key in lines:
                raise RecipeError(
                    f"{place(table.path, number)}: id {found.key!r} was given to {lines[found.key]} already"
                )
            lines[found.key] = number
            yield found


def _ahead(pool: ThreadPoolExecutor, work: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
    """The results in the items' order, with a few under way."""
    waiting: deque[Future[U]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) == AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _numbered(table: LocalTable, numbered: tuple[int, Row]) -> tuple[int, Found]:
    number, row = numbered
    return number, _found(table, number, row)


def _found(table: LocalTable, number: int, row: Row) -> Found:
    where, names = place(table.path, number), table.columns
    for name in _required(table):
        if name not in row:
            raise RecipeError(f"{where}: there is no {name!r}; there are {', '.join(row) or 'none'}")
    fault = ""
    try:
        image = _image(row[names.image], table.path.parent, where)
    except Unavailable as error:
        image, fault = b"", str(error)
    return Found(
        key=str(row[names.id]) if row.get(names.id) is not None else str(number),
        instruction=_text(row[names.instruction], names.instruction, where) or "",
        image=image,
        category=_text(row.get(names.category), names.category, where),
        severity=_severity(row.get(names.severity), f"{where}: {names.severity}"),
        benign=_benign(row.get(names.benign), f"{where}: {names.benign}"),
        fault=fault,
    )


def _image(value: object, folder: Path, where: str) -> bytes:
    match value:
        case None | "":
            raise Unavailable("the row has no image")
        case bytes():
            return value
        case {"bytes": bytes() as content}:
            return content
        case {"path": str() as name}:
            return _file(folder, name, where)
        case str():
            return _named(value, folder, where)
    raise RecipeError(f"{where}: {type(value).__name__} is no image; give a path, a URL, base64 or bytes")


def _named(value: str, folder: Path, where: str) -> bytes:
    if value.startswith(("http://", "https://")):
        return fetch(value)
    if header := _DATA_URL.match(value):
        return _decoded(value[header.end() :])
    # A path has a suffix, base64 has no dot.
    return _file(folder, value, where) if "." in value else _decoded(value)


def _file(folder: Path, name: str, where: str) -> bytes:
    try:
        path = inside(folder, name)
        if path.stat().st_size > MAX_BYTES:
            raise Unavailable(f"{name}: more than {MAX_BYTES:,} bytes")
        return path.read_bytes()
    except RecipeError as error:
        raise RecipeError(f"{where}: {error}") from None
    except (OSError, ValueError) as error:
        raise Unavailable(f"{name}: {error.strerror if isinstance(error, OSError) else error}") from None


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Unavailable(f"neither a path with a suffix nor base64: {text[:40]!r}") from None


def _text(value: object, name: str, where: str) -> str | None:
    if value is None or isinstance(value, str):
        return value or None
    raise RecipeError(f"{where}: {name!r} must be text, not {value!r:.40}")


def _severity(value: object, where: str) -> int | None:
    if value is None or value == "":
        return None
    if str(value) in ("1", "2", "3"):
        return int(str(value))
    raise RecipeError(f"{where} must be 1, 2 or 3, not {value!r:.40}")


def _benign(value: object, where: str) -> bool | None:
    if value is None or value == "":
        return None
    try:
        return _BOOLEANS[str(value).lower()]
    except KeyError:
        raise RecipeError(f"{where} must be true or false, not {value!r:.40}") from None
