"""Ask every model what is still to be asked of it, gather all that was said, and write results and page.

A killed run goes on where it was. Knows nothing of how a model is served and of how a task marks.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from align.errors import RecipeError, StageAborted
from align.evaluate.ask import ask, judges_of
from align.evaluate.benchmarks import NothingToJudge, judges_needed, maker, task_of, under
from align.evaluate.engines import Engines, Serve, Served, endpoint_of
from align.evaluate.gateway import served
from align.evaluate.gather import Asked, gather
from align.evaluate.logs import Wanted, folder_of, is_complete, kin_of, latest_log
from align.evaluate.looking import check_looking, look, place_of
from align.evaluate.own_replies import OwnReplies, is_measured, measure_own
from align.evaluate.publish import check_cards, publish
from align.evaluate.recipe import Benchmark, Evaluated, Evaluation
from align.evaluate.span import Span, check_span, of_what_there_is
from align.evaluate.written import write_results
from align.recipe import digest_of

if TYPE_CHECKING:
    from inspect_ai import Task
    from inspect_ai.log import EvalLog

    from align.evaluate.ask import Judges

JUDGE = "grader"
"""The role of those who judge replies anew."""


def evaluate(recipe: Evaluation, out: Path, span: Span, serve: Serve = served) -> Path:
    """Do it all; returns the page's place. StageAborted, after writing, where something of it failed."""
    check_span(recipe, span)
    recipe, notes = of_what_there_is(recipe, span)
    check_looking(recipe)
    engines = Engines(recipe, out, serve)
    check_cards(recipe, engines.manifests)
    asked = _asked(recipe, engines, out, span)
    judges: Judges = {}
    if any(_waiting(one, span) for one in asked) or any(one.of for one in recipe.benchmarks):
        judges = judges_of(recipe)
    faults = _ask_all(recipe, engines, asked, span, judges)
    asked = [
        replace(one, benchmarks=(*one.benchmarks, *_replays(recipe, one, asked, notes))) for one in asked
    ]
    for one in asked:
        if again := [wanted for wanted in _waiting(one, span) if wanted.benchmark.of]:
            ask(one.model.name, None, again, judges, recipe.pace)
    attention = _looked(_capped(recipe, span), engines, out, span, faults)
    results = gather(recipe, asked, attention, [*faults, *notes])
    publish(recipe, results)
    page = write_results(results, out)
    _raise_failures(asked, faults)
    return page


def _asked(recipe: Evaluation, engines: Engines, out: Path, span: Span) -> list[Asked]:
    """Every model with its benchmarks; RecipeError where a task is unknown or would have no judge."""
    roles = {judge.role for judge in recipe.judges}
    tasks: list[tuple[Benchmark, Task]] = []
    for benchmark in recipe.benchmarks:
        if benchmark.of is not None:
            maker(benchmark)
            needed: tuple[str, ...] = (JUDGE,)
        else:
            informed = under(benchmark, recipe.policy_documents)
            tasks.append((informed, task := task_of(informed)))
            needed = judges_needed(task)
        if missing := [role for role in needed if role not in roles]:
            raise RecipeError(
                f"benchmarks.{benchmark.task} is scored by a judge: add [[judges]] with "
                f"role = {missing[0]!r}, base_url and model (several are a panel)"
            )
    return [_of_model(recipe, engines, out, model, span, tasks) for model in recipe.models]


def _of_model(
    recipe: Evaluation,
    engines: Engines,
    out: Path,
    model: Evaluated,
    span: Span,
    tasks: Sequence[tuple[Benchmark, "Task"]],
) -> Asked:
    plain, judged = (folder_of(out, model.name, engines.digest(model, judged=some)) for some in (False, True))
    benchmarks = tuple(
        Wanted(
            benchmark,
            task,
            judged if judges_needed(task) else plain,
            _least(model.count, benchmark.count, span.count),
            engines.reasoning_format(model, benchmark),
        )
        for benchmark, task in tasks
    )
    own = _own_replies(recipe, engines, model, benchmarks, out / "faithful" / plain.name)
    return Asked(model, engines.served_as(model), judged, benchmarks, own)


def _own_replies(
    recipe: Evaluation, engines: Engines, model: Evaluated, benchmarks: Sequence[Wanted], folder: Path
) -> OwnReplies | None:
    """Those whose steps are measured, if the recipe wants this model's."""
    table = recipe.faithful
    if table is None or model not in recipe.local(table.models):
        return None
    source = next(wanted for wanted in benchmarks if wanted.name == table.of)
    name, version = engines.engine_name(model), digest_of(engines.weights(model))
    directory = folder / source.benchmark.task
    return OwnReplies(model.name, name, version, source, table, recipe.pace.concurrency, directory)


def _least(*counts: int | None) -> int | None:
    return min((count for count in counts if count is not None), default=None)


def _waiting(one: Asked, span: Span) -> list[Wanted]:
    """What is still to be asked of a model."""
    return [
        wanted
        for wanted in one.benchmarks
        if span.takes(one.model.name, wanted.benchmark.task) and not is_complete(latest_log(wanted), wanted)
    ]


def _unmeasured(one: Asked, span: Span) -> OwnReplies | None:
    """A model's replies whose steps are still to be measured."""
    own = one.own
    if own is None or not span.takes(one.model.name, own.wanted.benchmark.task) or is_measured(own):
        return None
    return own


def _ask_all(
    recipe: Evaluation, engines: Engines, asked: Sequence[Asked], span: Span, judges: "Judges"
) -> list[str]:
    """Ask, and measure what only a served model tells; returns what of the latter failed."""
    waiting = {one.model.name: one for one in asked if _waiting(one, span) or _unmeasured(one, span)}
    models = [one.model for one in waiting.values()]
    for model in models:
        if model.base_url is not None:
            endpoint_of(f"models.{model.name}", model)
    faults: list[str] = []
    for group in engines.groups(models):
        with engines.serving(group) as served:
            for model in group:
                one = waiting[model.name]
                _ask_one(recipe, one, served[model.name], span, judges)
                faults += _measure_one(one, served[model.name], span)
    return faults


def _ask_one(recipe: Evaluation, one: Asked, served: Served, span: Span, judges: "Judges") -> None:
    if wanted := _waiting(one, span):
        _tell(one, wanted)
        ask(one.model.name, served.api, wanted, judges, recipe.pace)


def _measure_one(one: Asked, served: Served, span: Span) -> Iterator[str]:
    """What failed: the other models are to be asked all the same."""
    own = _unmeasured(one, span)
    if own is None or served.engine is None:
        return
    try:
        measure_own(own, served.engine)
    except RecipeError as error:
        yield f"{one.model.name}: {error}"


def _capped(recipe: Evaluation, span: Span) -> Evaluation:
    """With no more questions to look at than samples to ask."""
    wanted = recipe.attention
    if wanted is None or span.count is None:
        return recipe
    fewer = wanted.model_copy(update={"count": min(wanted.count, span.count)})
    return recipe.model_copy(update={"attention": fewer})


def _looked(recipe: Evaluation, engines: Engines, out: Path, span: Span, faults: list[str]) -> Path | None:
    """Where attention was measured, by now if all of the recipe is asked; None where it was not."""
    place = place_of(recipe, engines, out)
    if place is None:
        return None
    try:
        if span.is_whole:
            look(recipe, engines, place)
    except RecipeError as error:
        faults.append(f"attention: {error}")
    return place if place.exists() else None


def _tell(one: Asked, waiting: Sequence[Wanted]) -> None:
    """Say so where other weights, policies, settings or judges than before are the reason to ask."""
    mine = {wanted.folder for wanted in one.benchmarks} | {one.judged}
    new = {wanted.folder for wanted in waiting if not wanted.folder.exists()}
    others = {path.name for folder in new for path in kin_of(folder, one.model.name) if path not in mine}
    if others:
        said = f"asked anew, other weights, policies, settings or judges than in {', '.join(sorted(others))}"
        sys.stderr.write(f"{one.model.name}: {said}\n")


def _replays(recipe: Evaluation, one: Asked, asked: Sequence[Asked], empty: list[str]) -> Iterator[Wanted]:
    """Those benchmarks that judge this model's replies to others, as far as these are finished.

    `empty` is told where none of them is to be judged: that no reply is harmful is a result, not a fault.
    """
    for benchmark in recipe.benchmarks:
        if benchmark.of is None or benchmark.against == one.model.name:
            continue
        own = _log_of(one, benchmark.of)
        if benchmark.against is None:
            logs = {"log": own}
        else:
            other = next(each for each in asked if each.model.name == benchmark.against)
            logs = {"first": own, "second": _log_of(other, benchmark.of)}
        if None not in logs.values():
            full = benchmark.model_copy(update={"parameters": benchmark.parameters | logs})
            source = _wanted(one, benchmark.of)
            try:
                task = task_of(full)
            except NothingToJudge as error:
                empty.append(f"{benchmark.key}, {one.model.name}: {error}")
                continue
            yield Wanted(full, task, one.judged, benchmark.count, source.reasoning_format)


def _wanted(one: Asked, benchmark: str) -> Wanted:
    return next(wanted for wanted in one.benchmarks if wanted.name == benchmark)


def _log_of(one: Asked, benchmark: str) -> str | None:
    """Where the finished log of a benchmark is."""
    wanted = _wanted(one, benchmark)
    log = latest_log(wanted)
    return log.location if log is not None and is_complete(log, wanted) else None


def _raise_failures(asked: Sequence[Asked], faults: Sequence[str]) -> None:
    failed = [
        f"{wanted.name}, {one.model.name}: {_reason(log)}"
        for one in asked
        for wanted in one.benchmarks
        if (log := latest_log(wanted)) is not None and log.status == "error"
    ]
    if failed:
        raise StageAborted(
            f"evaluate: too many requests failed ({'; '.join(failed)}): "
            "the same command asks for what is missing"
        )
    if faults:
        raise StageAborted(f"evaluate: {'; '.join(faults)}")


def _reason(log: "EvalLog") -> str:
    return " ".join(log.error.message.split()) if log.error else "no reason was given"
