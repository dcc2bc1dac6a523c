"""The failure modes before and after: how many replies show each, of how many that could be told."""

from collections.abc import Sequence

from align.evaluate.report.found import FAILURE_MODES, Found, scored, scorer_of
from align.evaluate.report.grid import (
    MINUS,
    NOT_MEASURED,
    Cell,
    Grid,
    Group,
    Head,
    Line,
    rate_cell,
    remark,
    spelled,
)
from align.evaluate.results import Model, Rate
from align.report.spelling import label, number, percent

NAMES = {
    "VAD": "visual attention drift",
    "FRI": "flawed reasoning initiation",
    "CSA": "CoT safety attenuation",
}
_ALMOST_GONE = -0.99
"""Below this a change would be rounded to all of it."""


def failure_modes(found: Found) -> Grid | None:
    """Modes down, main models across, and the change from the first of them to the last; None where no
    failure modes were counted.
    """
    models = found.models("main")
    asked = [pair for pair in found.asked if scorer_of(pair[1]) == FAILURE_MODES]
    if not (asked and models):
        return None
    tasks = dict.fromkeys(task for task, _ in asked)
    groups = tuple(
        Group(
            tuple(_line(found, task, measure, models) for of, measure in asked if of == task),
            label(task),
            found.requests(task, {model.name for model in models}),
        )
        for task in tasks
    )
    columns = [Head(found.label(model.name)) for model in models]
    if len(models) > 1:
        columns.append(Head("change", "first to last"))
    note = "Of the replies that could be judged; one may show several. Change: of the rate."
    return Grid("Replies that show each mode", "mode", tuple(columns), groups, note)


def _line(found: Found, task: str, measure: str, models: Sequence[Model]) -> Line:
    key = measure.partition(".")[2]
    rates = [found.rate(task, measure, model.name) for model in models]
    cells = [_cell(rate) for rate in rates]
    if len(models) > 1:
        cells.append(Cell(_change(rates[0], rates[-1])))
    return Line(Head(label(key), NAMES.get(key, ""), found.better(task, measure) or ""), tuple(cells))


def _cell(rate: Rate | None) -> Cell:
    if not (rate and rate.rate):
        return rate_cell(rate)
    of = scored(rate)
    count = f"{number(round(rate.rate.value * of))} of {number(of)}"
    told = f"{percent(rate.rate.value)} {spelled(rate.rate)}"
    return Cell(count, told, remark(rate), bar=100 * rate.rate.value)


def _change(before: Rate | None, after: Rate | None) -> str:
    """Of the rate, in parts of what it was."""
    if not (before and after):
        return NOT_MEASURED
    if not (before.rate and after.rate):
        return "unscored"
    if not before.rate.value:
        return "none before"
    change = after.rate.value / before.rate.value - 1
    if not change:
        return "none"
    if after.rate.value and change < _ALMOST_GONE:
        return f"{MINUS}99 %"
    return f"{MINUS if change < 0 else '+'}{100 * abs(change):.0f} %"
