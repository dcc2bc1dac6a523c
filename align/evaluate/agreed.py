"""How far judges agree: with one another, and as a panel with what a benchmark knows about its own items.

Agreement is told by task over the replies of all models. Knows nothing of how judges are asked.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from align.evaluate.logs import votes_of
from align.evaluate.results import Agreement
from align.evaluate.statistics import agreement

if TYPE_CHECKING:
    from align.evaluate.gather import Measured

JUDGED, KNOWN = "harm", "truth"
"""Scorers with the same keys: what judges made of a reply, and what it is."""


def among_judges(measured: Sequence["Measured"], notes: list[str]) -> Iterator[Agreement]:
    """Of several judges, by task and measure."""
    asked: dict[tuple[str, str], list[dict[str, str | None]]] = defaultdict(list)
    for found in measured:
        for scorer, keys in votes_of(found.log, found.wanted.ids):
            for key, votes in _independent(keys):
                labels = {vote["judge"]: vote["label"] for vote in votes}
                asked[found.task, f"{scorer}.{key}"].append(labels)
    for (task, measure), items in asked.items():
        judges = sorted({judge for item in items for judge in item})
        if len(judges) < 2:
            continue
        told = agreement({judge: [item.get(judge) for item in items] for judge in judges})
        if told.kappa is None:
            undefined = f"is undefined: {told.n} replies, one label"
            notes.append(f"{task}: the judges' agreement on {measure} {undefined}")
            continue
        names = tuple(judge.split("/", 2)[-1] for judge in judges)  # less the harness's name of the service
        yield Agreement(
            task=task, measure=measure, judges=names, n=told.n, kappa=told.kappa, agreed=told.agreed
        )


def with_truth(measured: Sequence["Measured"], judges: Sequence[str]) -> Iterator[Agreement]:
    """Of the judges' majority with the truth, by task and view, where a benchmark has both.

    Over the replies on which there is a majority; none of a model whose rate is withheld.
    """
    pairs: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for found in measured:
        for measure, known in found.values.items():
            scorer, _, key = measure.partition(".")
            judged = f"{JUDGED}.{key}"
            if scorer == KNOWN and judged in found.values and found.tells(judged) and found.tells(measure):
                said = found.values[judged]
                pairs[found.task, judged] += [(said[name], known[name]) for name in known if name in said]
    for (task, measure), marks in pairs.items():
        panel, truth = ([_label(pair[side]) for pair in marks] for side in (0, 1))
        told = agreement({JUDGED: panel, KNOWN: truth})
        yield Agreement(
            task=task,
            measure=measure,
            judges=tuple(judges),
            n=told.n,
            kappa=told.kappa,
            agreed=told.agreed,
            against="truth",
        )


def _label(mark: float) -> float | None:
    return None if math.isnan(mark) else mark


def _independent(
    keys: Mapping[str, Sequence[Mapping[str, Any]]],
) -> Iterable[tuple[str, Sequence[Mapping[str, Any]]]]:
    """Of the views of one reply, the whole: the others judge parts of the same text."""
    return [("whole", keys["whole"])] if "whole" in keys else keys.items()
