"""The page of an evaluation: one self-contained HTML file, from its results alone.

It asks nothing of any server and runs no script, and its content policy forbids both: replies of models
are shown on it. A section without numbers says what is missing.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from align.errors import RecipeError
from align.evaluate.report import ablations, figures, tables
from align.evaluate.report.failure import failure_modes
from align.evaluate.report.found import Found, found
from align.evaluate.report.grid import Cell, Grid, Group, Head, Line
from align.evaluate.report.looked import Looked, looked
from align.evaluate.report.summary import summary
from align.evaluate.report.worst import worst
from align.evaluate.results import Category, Results
from align.report.html import environment, put
from align.report.spelling import label, number


@dataclass(frozen=True, slots=True)
class Attention:
    """What is shown of attention, or why nothing is."""

    shown: Looked | None
    missing: str = ""


def write_page(results: Results, path: Path, attention: Path | None = None) -> Path:
    """Write the page to `path`, atomically; returns it. Seconds of work.

    `attention` is the output of `python -m align attention`; without it the directory that the results
    name, if it is still there. RecipeError where the results contradict themselves, where `attention`
    holds no figures, and where the page cannot be written.
    """
    put(path, page(results, attention))
    return path


def page(results: Results, attention: Path | None = None) -> str:
    """The whole page."""
    given = found(results)
    template = environment(Path(__file__).parent).get_template("evaluation.html.j2")
    shown = _attention(results, attention)
    return template.render(results=results, attention=shown, **_measured(given), **_listed(given))


def _measured(given: Found) -> dict[str, Any]:
    """The numbers by section; None and () where there are none."""
    results = given.results
    mains = {model.name for model in given.models("main")}
    paired = [one for one in results.differences if {one.first, one.second} <= mains]
    further = [one for one in results.differences if not {one.first, one.second} <= mains]
    curves = ablations.curves(given)
    return {
        "summary": summary(given),
        "main": tables.main(given),
        "others": tables.others(given),
        "differences": tables.differences(given, paired) if paired else None,
        "further": tables.differences(given, further) if further else None,
        "failures": failure_modes(given),
        "baselines": tables.headlines(given, "Baselines beside the main models", "baseline"),
        "ablations": tables.headlines(given, "Ablations beside the main models", "ablation"),
        "all_baselines": tables.everything(given, "baseline"),
        "all_ablations": tables.everything(given, "ablation"),
        "curve": figures.rows_curve(curves) if curves else None,
        "maps": list(zip(figures.heat_maps(given), _category_tables(given), strict=True)),
        "faithful": tables.faithfulness(given) if results.faithfulness else None,
        "lost": figures.faithfulness(given) if results.faithfulness else None,
        "agreements": tables.agreements(results.agreements) if results.agreements else None,
    }


def _listed(given: Found) -> dict[str, Any]:
    """What is listed: replies, judges, models."""
    results = given.results
    return {
        "worst": worst(given),
        "left_out": max(0, len(results.worst) - len(worst(given))),
        "judges": list(dict.fromkeys(label(judge) for one in results.agreements for judge in one.judges)),
        "tasks": list(dict.fromkeys(task for task, _ in given.asked)),
        "served": tables.served(given),
    }


def _attention(results: Results, directory: Path | None) -> Attention:
    if directory is not None:
        return Attention(looked(directory))
    if results.attention is None:
        return Attention(None, "Not measured: no `python -m align attention` belongs to these results.")
    try:
        return Attention(looked(Path(results.attention)))
    except RecipeError as error:
        return Attention(None, f"Measured, but it cannot be shown: {error}")


def _category_tables(given: Found) -> list[Grid]:
    """The numbers of each heat map."""
    cells: dict[tuple[str, str], list[Category]] = {}
    for one in given.results.categories:
        cells.setdefault((one.task, one.measure), []).append(one)
    return [_category_table(given, task, part) for (task, _), part in cells.items()]


def _category_table(given: Found, task: str, cells: list[Category]) -> Grid:
    at = {(one.category, one.model): one for one in cells}
    models = [one for one in given.results.models if any(cell.model == one.name for cell in cells)]
    lines = tuple(
        Line(Head(label(category)), tuple(_count(at.get((category, model.name))) for model in models))
        for category in dict.fromkeys(one.category for one in cells)
    )
    columns = tuple(Head(given.label(model.name)) for model in models)
    return Grid(f"{label(task)}: counts by category", "category", columns, (Group(lines),))


def _count(cell: Category | None) -> Cell:
    if cell is None:
        return Cell("not measured", quiet=True)
    return Cell(f"{number(cell.hits)} of {number(cell.n)}") if cell.n else Cell("none scored", quiet=True)
