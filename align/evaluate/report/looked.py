"""The attention instrument's output on the page: its drawings as they are, and its means over layers.

Reads files alone: the instrument itself would load torch.
"""

import base64
import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from align.errors import RecipeError
from align.evaluate.report.grid import Cell, Grid, Group, Head, Line
from align.report.figures import Drawing
from align.report.spelling import label

CSV_FILE = "attention.csv"
_TITLES = {"attention-by-layer": "By layer", "attention-decay": "Over the reply"}
_METRICS = {"lift": "lift", "mass": "share on the picture", "pull": "pull of the picture"}
_SECTIONS = {"think": "thinking", "answer": "answer"}


@dataclass(frozen=True, slots=True)
class Looked:
    """What is shown of one measurement."""

    drawings: tuple[Drawing, ...]
    means: Grid | None


def looked(directory: Path) -> Looked:
    """RecipeError where the directory holds no drawings of the instrument."""
    found = [(title, directory / f"{name}.svg") for name, title in _TITLES.items()]
    drawings = tuple(_drawing(title, path) for title, path in found if path.is_file())
    if not drawings:
        raise RecipeError(
            f"{directory} holds no attention figures: name what `python -m align attention --out` wrote"
        )
    return Looked(drawings, _means(directory / CSV_FILE))


def _drawing(title: str, path: Path) -> Drawing:
    encoded = base64.b64encode(path.read_bytes()).decode()
    said = f"Attention to the picture in thinking and answer, {title.lower()}; one line for each model"
    return Drawing(title, f"data:image/svg+xml;base64,{encoded}", said)


def _means(path: Path) -> Grid | None:
    if not path.is_file():
        return None
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return _grid([row for row in csv.DictReader(file) if row["over"] == "layers"])
    except (KeyError, ValueError, csv.Error):
        raise RecipeError(
            f"{path} is not what `python -m align attention` writes: measure again, or remove it"
        ) from None


def _grid(rows: Sequence[Mapping[str, str]]) -> Grid:
    at = {(row["metric"], row["section"], row["model"]): row for row in rows}
    models = list(dict.fromkeys(row["model"] for row in rows))
    groups = tuple(
        Group(
            tuple(
                Line(Head(said), tuple(_cell(at.get((metric, section, model))) for model in models))
                for section, said in _SECTIONS.items()
            ),
            title,
        )
        for metric, title in _METRICS.items()
        if any(of == metric for of, _, _ in at)
    )
    note = "Means over layers and replies. Lift: 1 is what attention spread evenly would give."
    return Grid("Attention to the picture", "while", tuple(Head(label(one)) for one in models), groups, note)


def _cell(row: Mapping[str, str] | None) -> Cell:
    if row is None:
        return Cell("not defined", quiet=True)
    value, *ends = (f"{float(row[key]):.3f}" for key in ("value", "low", "high") if row[key])
    return Cell(value, f"[{', '.join(ends)}]" if ends else "")
