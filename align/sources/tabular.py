"""Rows of a file of one's own, JSON Lines, CSV or Parquet by its suffix, each with where it stands.

Knows nothing of what the columns mean; a file that is not what its suffix says is named with the line.
"""

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from align.errors import RecipeError
from align.sources import parquet
from align.sources.images import MAX_BYTES

SUFFIXES = (".jsonl", ".csv", ".parquet")
_BASE64_OF_LARGEST = 2 * MAX_BYTES

Row = dict[str, Any]


def rows(path: Path) -> Iterator[tuple[int, Row]]:
    """Every row with its line number, or its row number from 1 in Parquet."""
    match path.suffix:
        case ".jsonl":
            return _json_lines(path)
        case ".csv":
            return _csv(path)
        case _:
            return enumerate(parquet.rows(path, (), optional=columns(path)), start=1)


def columns(path: Path) -> tuple[str, ...]:
    """The columns that a CSV or Parquet file has; in JSON Lines every line has its own."""
    match path.suffix:
        case ".jsonl":
            return ()
        case ".csv":
            with path.open("rb") as file:
                return tuple(next(csv.reader(_decoded(path, file)), ()))
        case _:
            return parquet.columns(path)


def place(path: Path, number: int) -> str:
    """Where a row stands, for messages."""
    return f"{path}, {'row' if path.suffix == '.parquet' else 'line'} {number}"


def _json_lines(path: Path) -> Iterator[tuple[int, Row]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise RecipeError(f"{place(path, number)}: is not JSON ({error})") from None
            if not isinstance(row, dict):
                raise RecipeError(f"{place(path, number)}: must be an object")
            yield number, row


def _csv(path: Path) -> Iterator[tuple[int, Row]]:
    csv.field_size_limit(_BASE64_OF_LARGEST)
    with path.open("rb") as file:
        reader = csv.DictReader(_decoded(path, file), strict=True)
        try:
            for row in reader:
                if None in row or None in row.values():
                    raise RecipeError(
                        f"{place(path, reader.line_num)}: has not as many fields as the first line has names"
                    )
                yield reader.line_num, {name: value or None for name, value in row.items()}
        except csv.Error as error:
            raise RecipeError(f"{place(path, reader.reader.line_num)}: is not CSV ({error})") from None


def _decoded(path: Path, file: Iterable[bytes]) -> Iterator[str]:
    for number, line in enumerate(file, start=1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise RecipeError(f"{place(path, number)}: is not UTF-8 ({error.reason})") from None
