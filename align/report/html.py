"""A page as one HTML file: how its templates are filled, and how the file is put in its place.

It knows no page: whoever has one brings the folders of its templates.
"""

import os
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from align.errors import RecipeError
from align.report import spelling


@cache
def environment(*folders: Path) -> Environment:
    """Templates of these folders, the first that has a name wins, and after them the ones kept here.

    Whatever is filled in is escaped, and a name that is not given is an error.
    """
    made = Environment(
        loader=FileSystemLoader([*folders, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "number": spelling.number,
        "percent": spelling.percent,
        "duration": spelling.duration,
        "shortened": spelling.shortened,
        "label": spelling.label,
        "money": lambda asked, currency: spelling.money(asked.money, currency),
    }
    return made


def put(path: Path, text: str) -> None:
    """Write the file atomically, with its directory; RecipeError where that cannot be."""
    if path.is_dir():
        raise RecipeError(f"{path} is a directory: name the file that the report is to be")
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise RecipeError(f"{path} cannot be written ({error.strerror}): name another file") from None
