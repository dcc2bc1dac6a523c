"""The page's drawings: the heat map of categories, the curve over rows, and means with their intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

from align.evaluate.report.ablations import Curve
from align.evaluate.report.drawing import BAD, INK, LINE, MARKERS, QUIET, SERIES, Drawn, drawn, styled
from align.evaluate.report.found import Found, measure_name
from align.evaluate.results import Category
from align.report.spelling import label, number

_DEEPEST = 0.6
"""Opacity of the worst cell: words on it stay readable in light and in dark."""
_ACROSS = 3
"""Panels in a row."""
_APART = 1.06
"""Factor between points of two tasks at the same number of rows, or their intervals hide each other."""
_CELL, _ROW = 0.95, 0.24
"""Inches."""


def heat_maps(found: Found) -> list[Drawn]:
    """One for each task and measure with categories: categories down, models across.

    Ablations are left to the table where there are other models.
    """
    cells: dict[tuple[str, str], list[Category]] = {}
    for one in found.results.categories:
        cells.setdefault((one.task, one.measure), []).append(one)
    return [_heat_map(found, f"heat{place}", *key, cells[key]) for place, key in enumerate(cells, 1)]


def _heat_map(found: Found, name: str, task: str, measure: str, cells: Sequence[Category]) -> Drawn:
    from matplotlib.figure import Figure

    at = {(one.category, one.model): one for one in cells}
    categories = list(dict.fromkeys(one.category for one in cells))
    counted = {one.model for one in cells}
    models = [one.name for one in found.models("main", "baseline") if one.name in counted] or list(counted)
    better = found.better(task, measure)
    with styled():
        # The drawing grows around its axes, however long the names beside them are.
        figure = Figure(figsize=(_CELL * len(models), _ROW * len(categories)))
        axes = figure.add_axes((0, 0, 1, 1))
        for down, category in enumerate(categories):
            for across, model in enumerate(models):
                _heat_cell(axes, across, down, at.get((category, model)), better != "higher")
        axes.set_xlim(0, len(models))
        axes.set_ylim(len(categories), 0)
        names = [_broken(found.label(model)) for model in models]
        axes.set_xticks([place + 0.5 for place in range(len(models))], names)
        axes.set_yticks([place + 0.5 for place in range(len(categories))], map(label, categories))
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)
        title = f"{label(task)}: {measure_name(measure)}, by category"
        note = "Per cent of the scored replies; the deeper the shade, the worse. A dash: nothing was scored."
        said = f"{title}. Heat map of {len(categories)} categories and {len(models)} models. "
        return drawn(figure, name, title, f"{said}The table below it has the numbers.", note)


def _heat_cell(axes: Any, across: int, down: int, cell: Category | None, high_is_bad: bool) -> None:
    from matplotlib.patches import Rectangle

    if cell is None or not cell.n:
        axes.text(across + 0.5, down + 0.5, "–", ha="center", va="center", color=QUIET)
        return
    share = cell.hits / cell.n
    shade = _DEEPEST * (share if high_is_bad else 1 - share)
    axes.add_patch(
        Rectangle((across + 0.02, down + 0.04), 0.96, 0.92, facecolor=BAD, alpha=shade, linewidth=0)
    )
    axes.text(across + 0.5, down + 0.5, f"{100 * share:.0f}", ha="center", va="center", color=INK)


def rows_curve(curves: Mapping[str, Sequence[Curve]]) -> Drawn:
    """Rates over the number of training rows: a panel for each measure, a line for each task."""
    from matplotlib.figure import Figure

    with styled():
        across = min(_ACROSS, len(curves))
        down = -(-len(curves) // across)
        figure = Figure(figsize=(max(4.2, 3.7 * across), 0.4 + 2.7 * down), layout="constrained")
        grid = list(figure.subplots(down, across, squeeze=False).flat)
        for axes in grid[len(curves) :]:
            axes.set_axis_off()
        tasks = list(dict.fromkeys(curve.name for panel in curves.values() for curve in panel))
        for axes, (measure, panel) in zip(grid, curves.items(), strict=False):
            for beside, curve in enumerate(panel):
                _curve(axes, curve, tasks.index(curve.name), _APART ** (beside - (len(panel) - 1) / 2))
            _rows_axes(axes, measure_name(measure), panel, panel[0].better == "lower")
        _legend(figure, grid, 2 * across)
        said = "Rates over the number of training rows, with intervals. The table below has the numbers."
        return drawn(figure, "rows", "By number of training rows", said, "Bars: 95 % Wilson intervals.")


def _curve(axes: Any, curve: Curve, place: int, apart: float) -> None:
    at = [rows * apart for rows, _ in curve.points]
    values = [100 * one.value for _, one in curve.points]
    reach = [
        [100 * max(0.0, one.value - one.low) for _, one in curve.points],
        [100 * max(0.0, one.high - one.value) for _, one in curve.points],
    ]
    style = {"color": SERIES[place % len(SERIES)], "marker": MARKERS[place % len(MARKERS)]}
    axes.errorbar(at, values, reach, label=curve.name, capsize=2, linewidth=1.3, markersize=4.5, **style)


def _rows_axes(axes: Any, title: str, panel: Sequence[Curve], lower_is_better: bool) -> None:
    from matplotlib.ticker import NullLocator

    ticks = sorted({rows for curve in panel for rows, _ in curve.points})
    axes.set_xscale("log")
    axes.set_xticks(ticks, [number(tick) for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    if lower_is_better:
        axes.set_ylim(bottom=0)  # how near to nothing a rate comes is what it is about
    axes.set_title(f"{title}, %", fontsize=9, loc="left")
    axes.set_xlabel("training rows")
    axes.grid(axis="y")


def _legend(figure: Any, grid: Sequence[Any], columns: int) -> None:
    """Each name once, whichever panels it is in."""
    named = {
        name: handle for axes in grid for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=columns)


def faithfulness(found: Found) -> Drawn:
    """Means of what is lost without the picture, with their intervals, about the line of nothing lost."""
    from matplotlib.figure import Figure

    given = found.results.faithfulness
    sources = list(dict.fromkeys(one.source for one in given))
    names = [f"{found.label(one.model)}, {label(one.source)}" for one in given]
    with styled():
        figure = Figure(figsize=(4.4, 0.26 * len(given)))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.axvline(0, color=QUIET, linewidth=1)
        for down, one in enumerate(given):
            place = sources.index(one.source)
            style: dict[str, Any] = {
                "color": SERIES[place % len(SERIES)],
                "fmt": MARKERS[place % len(MARKERS)],
            }
            reach = [[max(0.0, one.mean - one.low)], [max(0.0, one.high - one.mean)]]
            axes.errorbar([one.mean], [down], xerr=reach, capsize=2, markersize=5, **style)
        axes.set_yticks(range(len(given)), names)
        axes.set_ylim(len(given) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("log-probability lost when the picture is blanked, nats per token")
        axes.grid(axis="x", color=LINE)
        said = "Means with intervals by model and source tag. The table has the numbers."
        return drawn(figure, "faithful", "With and without the picture", said, "Bars: 95 % intervals.")


def _broken(name: str, width: int = 12) -> str:
    """In lines that fit over a column."""
    from textwrap import wrap

    return "\n".join(wrap(name, width)) or name
