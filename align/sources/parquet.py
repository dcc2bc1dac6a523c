"""Rows of Parquet files as published, a few at a time: images of a whole set never lie in memory together.

Reads only the columns that are asked for. Knows nothing of what they mean.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from align.errors import RecipeError

BLOCK = 32
"""Rows in memory per file that is being read; each may hold an image of some megabytes."""


def rows(path: Path, columns: Sequence[str], *, optional: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """The rows of one file, in its order; RecipeError where it is no such file."""
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            there, groups = file.schema_arrow.names, file.num_row_groups
        _check_columns(path, columns, there)
        wanted = [*columns, *(name for name in optional if name in there)]
        for group in range(groups):
            start = 0
            while block := _block(path, wanted, group, start):
                yield from block
                start += len(block)
    except (pyarrow.ArrowException, OSError) as error:
        raise _unreadable(path, error) from None


def _block(path: Path, columns: Sequence[str], group: int, start: int) -> list[dict[str, Any]]:
    """The rows of a row group from `start` on, few of them; none at its end.

    The file is closed in between: while it is open, a decoded page of it stays in memory, which may be a
    hundred megabytes, and twenty files are read in turn.
    """
    from pyarrow import parquet

    passed = 0
    with parquet.ParquetFile(path, memory_map=True) as file:
        for batch in file.iter_batches(BLOCK, row_groups=[group], columns=list(columns)):
            if passed == start:
                return list(batch.to_pylist())
            passed += len(batch)
    return []


def columns(path: Path) -> tuple[str, ...]:
    """The columns that a file has; RecipeError where it is no Parquet file."""
    import pyarrow
    from pyarrow import parquet

    try:
        return tuple(parquet.read_schema(path).names)
    except (pyarrow.ArrowException, OSError) as error:
        raise _unreadable(path, error) from None


def rows_in_turn(
    files: Mapping[str, Path], columns: Sequence[str], *, optional: Sequence[str] = ()
) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """One row of each file after the other, until all are through: the file's name, number from 0, row."""
    open_files = {name: enumerate(rows(path, columns, optional=optional)) for name, path in files.items()}
    while open_files:
        for name, numbered in list(open_files.items()):
            found = next(numbered, None)
            if found is None:
                del open_files[name]
            else:
                yield (name, *found)


def image_bytes(value: object, where: str) -> bytes:
    """The file in a column of images (struct of bytes and path); empty where there is none."""
    if value is None:
        return b""
    if isinstance(value, dict) and "bytes" in value:
        content = value["bytes"]
        return content if isinstance(content, bytes) else b""
    raise RecipeError(f"{where}: column 'image' holds no images (struct of bytes and path) but {value!r:.40}")


def _check_columns(path: Path, columns: Sequence[str], there: Sequence[str]) -> None:
    for name in columns:
        if name not in there:
            raise RecipeError(f"{path}: there is no column {name!r}; there are {', '.join(there)}")


def _unreadable(path: Path, error: Exception) -> RecipeError:
    return RecipeError(f"{path}: cannot be read as Parquet ({str(error).splitlines()[0]})")
