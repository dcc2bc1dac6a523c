"""From a recipe's TOML file to its tables, or to one line that names the file and every key at fault.

Knows no recipe: whoever has one brings its outermost table. Tables that are told apart by their names are
sources.
"""

import difflib
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from align.errors import RecipeError

Whole = TypeVar("Whole", bound=BaseModel)


def read_recipe(path: Path, whole: type[Whole]) -> Whole:
    """The file's content as the table `whole`; RecipeError where it is not one."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: is not TOML: {error}") from None
    try:
        return whole.model_validate(content)
    except ValidationError as error:
        faults = _true_faults(error.errors(include_url=False, include_input=False))
        said = dict.fromkeys(_said(fault, whole) for fault in faults)
        raise RecipeError(f"{path}: {'; '.join(said)}") from None


def _true_faults(faults: list[ErrorDetails]) -> list[ErrorDetails]:
    """Less those that only follow from others: a list whose one entry is at fault also counts as empty."""
    places = [fault["loc"] for fault in faults]
    return [
        fault
        for fault in faults
        if fault["type"] != "too_short" or not any(_is_inside(place, fault["loc"]) for place in places)
    ]


def _is_inside(place: tuple[int | str, ...], table: tuple[int | str, ...]) -> bool:
    return len(place) > len(table) and place[: len(table)] == table


def _said(fault: ErrorDetails, whole: type[BaseModel]) -> str:
    where = [str(part) for part in fault["loc"]]
    key = ".".join(where)
    match fault["type"]:
        case "extra_forbidden":
            return f"unknown key {key!r}{_suggestion(where, whole)}"
        case "missing":
            return f"key {key!r} is missing"
        case "union_tag_not_found":
            return f"key '{key}.name' is missing"
        case "union_tag_invalid":
            known = [tag.strip("' ") for tag in fault["ctx"]["expected_tags"].split(",")]
            near = difflib.get_close_matches(fault["ctx"]["tag"], known, n=1)
            meant = f" (did you mean {near[0]!r}?)" if near else ""
            return (
                f"key '{key}.name': there is no source {fault['ctx']['tag']!r}{meant}; of {', '.join(known)}"
            )
    said = fault["msg"].removeprefix("Value error, ")
    return f"key {key!r}: {said}" if key else said


def _suggestion(where: list[str], whole: type[BaseModel]) -> str:
    *tables, key = where
    near = difflib.get_close_matches(key, list(_keys(tables, whole)), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _keys(tables: list[str], whole: type[BaseModel]) -> Iterator[str]:
    """The keys of a table; entries of lists and of tables of tables are stepped over."""
    parts: list[type[BaseModel]] = [whole]
    for table in tables:
        inside = [part.model_fields[table].annotation for part in parts if table in part.model_fields]
        named = [part for part in parts if _name_of(part) == table]
        parts = named or [model for annotation in inside for model in _models(annotation)] or parts
    for part in parts:
        yield from part.model_fields


def _name_of(table: type[BaseModel]) -> str | None:
    """The name under which a recipe asks for this kind of table, where tables are told apart by name."""
    field = table.model_fields.get("name")
    names = get_args(field.annotation) if field else ()
    return names[0] if len(names) == 1 else None


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The tables that a field can hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
