"""From the harness's logs to one value: rates, differences, agreement between judges, what to look at.

A value that could not be told is counted as unscored and is in no rate. Knows nothing of servers and pages.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from align.errors import StageAborted
from align.evaluate.ability import ability
from align.evaluate.agreed import among_judges, with_truth
from align.evaluate.benchmarks import max_unscored
from align.evaluate.logs import Wanted, is_finished, latest_log, summaries_of
from align.evaluate.notes import Note, sentences
from align.evaluate.own_replies import OwnReplies, told
from align.evaluate.rates import NothingScored, clustered_wilson
from align.evaluate.recipe import Evaluated, Evaluation
from align.evaluate.results import Better, Category, Difference, Model, Rate, Results
from align.evaluate.statistics import paired_bootstrap, wins
from align.evaluate.worst import worst

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog, EvalSampleSummary

HIGHER_IS_BETTER = frozenset({"correct", "effective", "trace", "win_rate"})
"""Scorers whose keys are virtues; all others count faults."""
COMPARING = "win_rate"
"""The scorer whose values may be ties."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One model: which weights it is, and what is asked of it."""

    model: Evaluated
    served: str
    judged: Path
    """Where the logs of those who judge replies anew go."""
    benchmarks: tuple[Wanted, ...]
    own: OwnReplies | None = None
    """Those whose steps are measured with their pictures blanked."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One model on one benchmark: every measure's values by sample, NaN where they could not be told."""

    model: str
    wanted: Wanted
    log: "EvalLog"
    values: Mapping[str, Mapping[str, float]]
    categories: Mapping[str, str]
    requests: Mapping[str, str]
    """What each sample asks, the same for all pictures over which it is asked."""

    @property
    def task(self) -> str:
        return self.wanted.name

    def tells(self, measure: str) -> bool:
        """Whether enough samples are scored for a number: what is withheld as a rate is so everywhere."""
        values = self.values[measure].values()
        unscored = sum(map(math.isnan, values))
        return unscored < len(values) and unscored <= max_unscored(self.log.eval.metadata) * len(values)


def gather(
    recipe: Evaluation, asked: Sequence[Asked], attention: Path | None, faults: Sequence[str] = ()
) -> Results:
    """Everything that was said so far; `attention` is where that was measured, `faults` what failed."""
    noted = [*_waiting(recipe, asked)]
    measured = [found for one in asked for found in _measured(one, noted)]
    rates = [rate for found in measured for rate in _rates(found, noted)]
    notes = [*faults, *sentences(noted)]
    if recipe.ability:
        rates += ability(recipe.ability.results, _names(asked), rates, notes)
    judges = [judge.model for judge in recipe.judges]
    agreements = [*among_judges(measured, notes)] if len(judges) > 1 else []
    return Results(
        title=recipe.title,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        recipe_digest=recipe.digest,
        models=tuple(_model(one) for one in asked),
        rates=tuple(rates),
        differences=tuple(_differences(recipe, measured)),
        agreements=(*agreements, *with_truth(measured, judges)),
        categories=tuple(cell for found in measured for cell in _categories(found)),
        faithfulness=tuple(entry for one in asked if one.own for entry in told(one.own, notes)),
        attention=str(attention) if attention else None,
        worst=tuple(worst(_main(recipe), measured)),
        notes=tuple(dict.fromkeys(notes)),
    )


def _waiting(recipe: Evaluation, asked: Sequence[Asked]) -> Iterator[Note]:
    """What cannot be judged anew yet."""
    for one in asked:
        there = {wanted.name for wanted in one.benchmarks}
        for benchmark in recipe.benchmarks:
            if benchmark.key not in there and benchmark.against != one.model.name:
                yield Note(benchmark.key, one.model.name, f"waits for {benchmark.of} to be finished")


def _model(one: Asked) -> Model:
    model = one.model
    return Model(
        name=model.name,
        served=one.served,
        label=model.label or model.name,
        group=model.group,
        rows=model.rows,
    )


def _main(recipe: Evaluation) -> str:
    """The model whose replies are shown: the last of the main ones, or of all."""
    names = [model.name for model in recipe.models if model.group == "main"]
    return (names or [model.name for model in recipe.models])[-1]


def _names(asked: Sequence[Asked]) -> Mapping[str, str]:
    """What a model may be called where it was served, and in the recipe; what names several, names none."""
    called: dict[str, set[str]] = defaultdict(set)
    for one in asked:
        for name in (one.served, one.model.model):
            if name is not None:
                called[name].add(one.model.name)
    others = {name: next(iter(models)) for name, models in called.items() if len(models) == 1}
    return others | {one.model.name: one.model.name for one in asked}


def _measured(one: Asked, notes: list[Note]) -> Iterator[Measured]:
    model = one.model.name
    for wanted in one.benchmarks:
        notes += [Note(wanted.name, model, remark) for remark in _remarks(wanted)]
        log = latest_log(wanted)
        if log is None or not is_finished(log):
            state = "not asked yet" if log is None else "not finished"
            notes.append(Note(wanted.name, model, f"{state}, so there is no number"))
            continue
        yield _read(model, wanted, log)


def _remarks(wanted: Wanted) -> Iterator[str]:
    """How far its samples are not all that there are."""
    from align.evaluate.tasks.replayed import REMARKS

    whole = len(wanted.task.dataset)
    if len(wanted.ids) < whole:
        yield f"the first {len(wanted.ids)} of {whole} samples"
    yield from (wanted.task.metadata or {}).get(REMARKS, ())


def _read(model: str, wanted: Wanted, log: "EvalLog") -> Measured:
    from align.evaluate.samples import request_of

    there = summaries_of(log, wanted.ids)
    values: dict[str, dict[str, float]] = defaultdict(dict)
    marks = {name: _marks(summary) for name, summary in there.items()}
    for measure in dict.fromkeys(measure for found in marks.values() for measure in found):
        scorer = measure.partition(".")[0]
        for name in wanted.ids:
            found = marks.get(name, {})
            # Where the measure does not apply, the sample has other marks and no error.
            if measure in found or not found or _failed(there[name], scorer):
                values[measure][name] = found.get(measure, math.nan)
    categories = {
        name: str(category)
        for name, summary in there.items()
        if (category := summary.metadata.get("category")) is not None
    }
    requests = {str(sample.id): request_of(sample) for sample in wanted.task.dataset}
    return Measured(model, wanted, log, values, categories, requests)


def _failed(summary: "EvalSampleSummary", scorer: str) -> bool:
    return summary.error is not None and scorer not in (summary.scores or {})


def _marks(summary: "EvalSampleSummary") -> dict[str, float]:
    """`SCORER.KEY` to its number."""
    found: dict[str, float] = {}
    for scorer, score in (summary.scores or {}).items():
        if not isinstance(score.value, Mapping):
            raise StageAborted(
                f"evaluate: the scorer {scorer!r} gives {score.value!r} and not a number per key"
            )
        for key, value in score.value.items():
            found[f"{scorer}.{key}"] = float(value) if isinstance(value, int | float) else math.nan
    return found


def better(measure: str) -> Better:
    """Which way a measure should go."""
    return "higher" if measure.partition(".")[0] in HIGHER_IS_BETTER else "lower"


def _rates(found: Measured, notes: list[Note]) -> Iterator[Rate]:
    for measure, values in found.values.items():
        scored = {name: value for name, value in values.items() if not math.isnan(value)}
        unscored = len(values) - len(scored)
        requests = [found.requests[name] for name in scored]
        told = found.tells(measure)
        if not told:
            said = f"{measure} is not reported: {unscored} of {len(values)} are unscored"
            notes.append(Note(found.task, found.model, said))
        yield Rate(
            task=found.task,
            model=found.model,
            measure=measure,
            better=better(measure),
            n=len(values),
            unscored=unscored,
            rate=clustered_wilson([*scored.values()], requests) if told else None,  # a tie is half a win
            distinct=len(set(requests)),
            ties=wins([*scored.values()]).tied if measure.partition(".")[0] == COMPARING else None,
        )
    if not found.values:
        notes.append(Note(found.task, found.model, "nothing could be scored, so there is no number"))


def _categories(found: Measured) -> Iterator[Category]:
    for measure, values in found.values.items():
        if not found.tells(measure):
            continue
        cells: dict[str, list[float]] = defaultdict(list)
        for name, value in values.items():
            if name in found.categories and not math.isnan(value):
                cells[found.categories[name]].append(value)
        for category, scored in sorted(cells.items()):
            yield Category(
                task=found.task,
                model=found.model,
                category=category,
                measure=measure,
                n=len(scored),
                hits=sum(value == 1 for value in scored),
            )


def _differences(recipe: Evaluation, measured: Sequence[Measured]) -> Iterator[Difference]:
    by_model = {(found.model, found.task): found for found in measured}
    for first, second in recipe.compare.pairs:
        for task in dict.fromkeys(found.task for found in measured):
            pair = by_model.get((first, task)), by_model.get((second, task))
            if pair[0] and pair[1]:
                yield from _compared(pair[0], pair[1], recipe.seed)


def _compared(first: Measured, second: Measured, seed: int) -> Iterator[Difference]:
    for measure in (measure for measure in first.values if measure in second.values):
        if not (first.tells(measure) and second.tells(measure)):
            continue
        one, other = first.values[measure], second.values[measure]
        both = [name for name in one if name in other]
        try:
            requests = [first.requests[name] for name in both]
            found = paired_bootstrap(
                [one[name] for name in both], [other[name] for name in both], requests, seed=seed
            )
        except NothingScored:
            continue  # no two samples that are scored for both
        yield Difference(
            task=first.task,
            measure=measure,
            first=first.model,
            second=second.model,
            n=found.n,
            difference=found.difference,
            distinct=found.distinct,
        )
