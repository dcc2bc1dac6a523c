"""Sets published as one JSON list with pictures beside it: reading the list, finding the pictures."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from align.errors import RecipeError


def entries(path: Path, keys: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Numbered from 0; RecipeError names the entry that lacks a key."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise RecipeError(f"{path}: is not JSON ({error})") from None
    if not isinstance(content, list):
        raise RecipeError(f"{path}: must be a list of entries")
    for number, entry in enumerate(content):
        if not isinstance(entry, dict):
            raise RecipeError(f"{path}, entry {number}: must be an object")
        for key in keys:
            if key not in entry:
                raise RecipeError(
                    f"{path}, entry {number}: there is no {key!r}; there are {', '.join(entry)}"
                )
        yield number, entry


def inside(folder: Path, name: str) -> Path:
    """A file below a folder; RecipeError for a name that leads out of it."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise RecipeError(f"{name!r} leads out of {folder}: pictures must lie below it")
    return path
