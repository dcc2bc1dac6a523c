"""The ablations by number of training rows, as curves."""

from collections.abc import Mapping
from dataclasses import dataclass

from align.evaluate.report.found import HEADLINES, Found
from align.evaluate.results import Better, Model
from align.report.spelling import label
from policies.bundle import Interval


@dataclass(frozen=True, slots=True)
class Curve:
    """A task's rates over the number of training rows."""

    name: str
    better: Better
    points: tuple[tuple[int, Interval], ...]


def curves(found: Found) -> Mapping[str, tuple[Curve, ...]]:
    """By measure; only tasks with two or more points, each with a rate."""
    trained = [(model.rows, model) for model in found.models("ablation") if model.rows is not None]
    trained.sort(key=lambda pair: pair[0])
    drawn: dict[str, list[Curve]] = {}
    for task, measure in found.asked:
        if measure in HEADLINES:
            points = tuple(_points(found, task, measure, trained))
            better = found.better(task, measure)
            if len(points) > 1 and better:
                drawn.setdefault(measure, []).append(Curve(label(task), better, points))
    return {measure: tuple(drawn[measure]) for measure in HEADLINES if measure in drawn}


def _points(
    found: Found, task: str, measure: str, trained: list[tuple[int, Model]]
) -> list[tuple[int, Interval]]:
    rates = ((rows, found.rate(task, measure, model.name)) for rows, model in trained)
    return [(rows, rate.rate) for rows, rate in rates if rate and rate.rate]
