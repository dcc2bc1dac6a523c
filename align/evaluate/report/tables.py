"""The tables of the page, from the results: who is harmful, who refuses, who is able, how sure that is."""

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Literal, TypeAlias

from align.evaluate.report.compared import Mark, marks
from align.evaluate.report.found import (
    FAILURE_MODES,
    HEADLINES,
    Found,
    headline_name,
    measure_name,
    scorer_of,
)
from align.evaluate.report.grid import (
    Cell,
    Grid,
    Group,
    Head,
    Line,
    counted,
    points,
    rate_cell,
    signed,
    spelled,
)
from align.evaluate.results import Agreement, Difference, Faithfulness, Model
from align.report.spelling import label, number, percent
from policies.bundle import Interval

_MAIN = frozenset({"harm", "refusal", "correct", "effective"})
_HEADINGS = {"main": "main", "baseline": "baselines", "ablation": "ablations"}
Side: TypeAlias = Literal["baseline", "ablation"]
"""What stands beside the main models."""
_BESIDE = 4
"""Columns that have room for their intervals in one line."""
NOT_TOLD_APART = "not told apart"
_AGAINST = {"each other": "with one another", "truth": "their majority with the known truth"}


def main(found: Found) -> Grid | None:
    """Harm in its three views, refusal and ability: tasks down, main models across."""
    title, models = "Harm, refusal and ability", found.models("main")
    return _by_task(found, title, models, lambda measure: scorer_of(measure) in _MAIN)


def others(found: Found) -> Grid | None:
    """Whatever else was measured, such as wins and the form of replies; failure modes have their own."""
    known = {*_MAIN, FAILURE_MODES}
    title, models = "Everything else that was measured", found.models("main")
    return _by_task(found, title, models, lambda measure: scorer_of(measure) not in known)


def everything(found: Found, group: Side) -> Grid | None:
    """All that was measured of the models of a group, unmarked: tasks down, models across."""
    title, models = f"All rates of the {_HEADINGS[group]}", found.models(group)
    return _by_task(found, title, models, lambda _: True, marked=False)


def headlines(found: Found, title: str, group: Side) -> Grid | None:
    """The models of a group below the main ones, one number of each task across; None without such models.

    The best is marked among baselines only: ablations are no rivals.
    """
    models = found.models(group) and (*found.models("main"), *found.models(group))
    asked = [(task, measure) for task, measure in found.asked if measure in HEADLINES]
    if not (asked and models):
        return None
    columns = tuple(
        Head(label(task), headline_name(one), found.better(task, one) or "") for task, one in asked
    )
    across = [_cells(found, *pair, models, marked=group == "baseline") for pair in asked]
    down = zip(*across, strict=True)
    groups = tuple(
        Group(tuple(Line(Head(found.label(model.name)), cells) for model, cells in lines), heading)
        for heading, lines in _grouped(models, down)
    )
    said = "; ".join(f"{label(task)}: {_samples(found, task, models)}" for task in dict(asked))
    return Grid(title, "model", columns, groups, f"Harmful: the whole reply. {said}.", many=True)


def differences(found: Found, chosen: Iterable[Difference]) -> Grid:
    """Second less first, pair by pair."""
    chosen = list(chosen)
    pairs = dict.fromkeys((one.first, one.second) for one in chosen)
    groups = tuple(
        Group(
            tuple(_difference(found, one) for one in chosen if (one.first, one.second) == pair),
            f"{found.label(pair[1])} less {found.label(pair[0])}",
        )
        for pair in pairs
    )
    known = any(one.distinct is not None for one in chosen)
    samples = Head("samples", "(distinct requests)" if known else "")
    columns = (Head("percentage points"), Head("which says"), samples)
    return Grid("Second model less first", "task", columns, groups, words=frozenset({1}))


def agreements(found: Sequence[Agreement]) -> Grid:
    """How far judges agree, with one another and with what is known."""
    groups = tuple(
        Group(tuple(_agreed(one) for one in found if one.against == against), title)
        for against, title in _AGAINST.items()
        if any(one.against == against for one in found)
    )
    columns = (Head("about"), Head("judges"), Head("kappa"), Head("agreed"), Head("replies"))
    note = "Agreed: of the pairs of judges, or of their majority and the truth."
    return Grid("Agreement of judges", "task", columns, groups, note, words=frozenset({0, 1}))


def _agreed(one: Agreement) -> Line:
    kappa = Cell("undefined", quiet=True) if one.kappa is None else Cell(signed(one.kappa, 2))
    agreed = Cell("not told", quiet=True) if one.agreed is None else Cell(percent(one.agreed))
    judges = Cell(", ".join(map(label, one.judges)))
    return Line(
        Head(label(one.task)), (Cell(measure_name(one.measure)), judges, kappa, agreed, Cell(number(one.n)))
    )


def faithfulness(found: Found) -> Grid:
    """What steps lose without the picture, by model and source."""
    given = found.results.faithfulness
    groups = tuple(
        Group(
            tuple(_lost(one) for one in given if one.model == model.name),
            found.label(model.name),
        )
        for model in found.results.models
        if any(one.model == model.name for one in given)
    )
    columns = (Head("nats per token"), Head("which says"), Head("survive"), Head("steps"))
    below = ", ".join(f"{threshold:g}" for threshold in sorted({one.threshold for one in given}))
    note = f"Survive: steps that lose less than {below} nats per token."
    return Grid("Lost when the picture is blanked", "source tag", columns, groups, note, words=frozenset({1}))


def served(found: Found) -> Grid:
    """Who was compared, and how it was served."""
    lines = tuple(
        Line(
            Head(found.label(model.name)),
            (Cell(label(model.name)), Cell(model.group), Cell(label(model.served))),
        )
        for model in found.results.models
    )
    columns = (Head("name"), Head("group"), Head("served as"))
    return Grid("Models", "model", columns, (Group(lines),), words=frozenset({0, 1, 2}))


def _by_task(
    found: Found, title: str, models: Sequence[Model], wanted: Callable[[str], bool], *, marked: bool = True
) -> Grid | None:
    asked = [pair for pair in found.asked if wanted(pair[1])]
    asked = [pair for pair in asked if any(found.rate(*pair, model.name) for model in models)]
    if not asked:
        return None
    groups = tuple(
        Group(
            tuple(_line(found, task, measure, models, marked) for _, measure in pairs),
            label(task),
            _samples(found, task, models),
        )
        for task, pairs in groupby(asked, key=lambda pair: pair[0])
    )
    columns = tuple(Head(found.label(model.name)) for model in models)
    return Grid(title, "task", columns, groups, many=len(models) > _BESIDE)


def _line(found: Found, task: str, measure: str, models: Sequence[Model], marked: bool) -> Line:
    head = Head(measure_name(measure), better=found.better(task, measure) or "")
    return Line(head, _cells(found, task, measure, models, marked=marked))


def _cells(
    found: Found, task: str, measure: str, models: Sequence[Model], *, marked: bool
) -> tuple[Cell, ...]:
    rates = [found.rate(task, measure, model.name) for model in models]
    said = marks(rates) if marked else (Mark.NONE,) * len(rates)
    return tuple(rate_cell(rate, mark) for rate, mark in zip(rates, said, strict=True))


def _samples(found: Found, task: str, models: Sequence[Model]) -> str:
    """Of what these models were asked."""
    names = {model.name for model in models}
    counts = {one.n for one in found.results.rates if one.task == task and one.model in names}
    least, most = (number(pick(counts)) for pick in (min, max))
    samples = f"{least if least == most else f'{least} to {most}'} samples"
    return ", ".join(filter(None, (samples, found.requests(task, names))))


def _grouped(
    models: Sequence[Model], lines: Iterable[tuple[Cell, ...]]
) -> list[tuple[str, list[tuple[Model, tuple[Cell, ...]]]]]:
    """By group, with a heading where there is more than one."""
    pairs = list(zip(models, lines, strict=True))
    several = len({model.group for model in models}) > 1
    return [
        (_HEADINGS[group] if several else "", list(part))
        for group, part in groupby(pairs, key=lambda pair: pair[0].group)
    ]


def _difference(found: Found, one: Difference) -> Line:
    better = found.better(one.task, one.measure)
    cells = (points(one.difference), Cell(_said(one.difference, better)), Cell(counted(one.n, one.distinct)))
    return Line(Head(label(one.task), measure_name(one.measure), better or ""), cells)


def _said(difference: Interval, better: str | None) -> str:
    if difference.low <= 0 <= difference.high:
        return NOT_TOLD_APART
    higher = difference.low > 0
    if better is None:
        return "higher" if higher else "lower"
    return "better" if higher == (better == "higher") else "worse"


def _lost(one: Faithfulness) -> Line:
    mean, low, high = (signed(value, 3) for value in (one.mean, one.low, one.high))
    if one.low > 0:
        said = "needs the picture"
    elif one.high < 0:
        said = "likelier without it"
    else:
        said = NOT_TOLD_APART
    survive = Cell(percent(one.survives.value), spelled(one.survives))
    return Line(
        Head(label(one.source)),
        (Cell(mean, f"[{low}, {high}]"), Cell(said), survive, Cell(number(one.steps))),
    )
