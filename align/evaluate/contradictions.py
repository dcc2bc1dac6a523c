"""What one table of an evaluation's recipe says against another: `recipe` checks each table alone."""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from align.attention.whose import BASE, OWN, RESERVED

if TYPE_CHECKING:
    from align.evaluate.recipe import Evaluation


def contradictions(recipe: "Evaluation") -> Iterator[str]:
    """Every fault, each as what the recipe's author should read."""
    names = [model.name for model in recipe.models]
    yield from (f"models: two are called {name!r}" for name in _twice(names))
    local = recipe.local()
    if local and recipe.base is None:
        yield f"models.{local[0].name} needs the base model: give base, or base_url and model"
    yield from _of_benchmarks(recipe, names)
    yield from _inside_models(recipe, names)
    judges = [f"{judge.role}'s {judge.model}" for judge in recipe.judges]
    yield from (f"judges: {name!r} is there twice, and votes are told apart by it" for name in _twice(judges))
    for first, second in recipe.compare.pairs:
        yield from (f"compare.pairs: {unknown('model', n, names)}" for n in (first, second) if n not in names)
        if first == second:
            yield f"compare.pairs: {first!r} cannot be compared with itself"


def _of_benchmarks(recipe: "Evaluation", models: Sequence[str]) -> Iterator[str]:
    asked = [benchmark.key for benchmark in recipe.benchmarks if benchmark.of is None]
    keys = [benchmark.key for benchmark in recipe.benchmarks]
    yield from (f"benchmarks: {key!r} is there twice" for key in _twice(keys))
    for benchmark in recipe.benchmarks:
        if benchmark.of is not None and benchmark.of not in asked:
            yield f"benchmarks.{benchmark.task}.of: {unknown('benchmark', benchmark.of, asked)}"
        if benchmark.against is not None and benchmark.against not in models:
            yield f"benchmarks.{benchmark.task}.against: {unknown('model', benchmark.against, models)}"


def _inside_models(recipe: "Evaluation", names: Sequence[str]) -> Iterator[str]:
    """Of what is measured inside models, which endpoints do not show."""
    if recipe.faithful is not None:
        yield from _not_local(recipe, "faithful", recipe.faithful.models, names)
        asked = [benchmark.key for benchmark in recipe.benchmarks if benchmark.of is None]
        if recipe.faithful.of not in asked:
            yield f"faithful.of: {unknown('benchmark', recipe.faithful.of, asked)}"
    wanted = recipe.attention
    if wanted is None or wanted.directory is not None:
        return
    yield from _not_local(recipe, "attention", wanted.models, names)
    measured = recipe.local(wanted.models)
    writers = [OWN, BASE, *(one.name for one in measured)]
    if wanted.text not in writers:
        yield f"attention.text: {unknown('model', wanted.text, writers)}"
    for one in measured:
        if one.bundle is not None and one.name in RESERVED:
            yield f"models.{one.name}: [attention] means something else by {one.name!r}: give another name"


def _not_local(recipe: "Evaluation", table: str, given: Sequence[str], names: Sequence[str]) -> Iterator[str]:
    local = [model.name for model in recipe.local()]
    for name in given:
        if name not in names:
            yield f"{table}.models: {unknown('model', name, names)}"
        elif name not in local:
            yield f"{table}.models: {name!r} is an endpoint's, which cannot be looked into: name local models"
    if not local:
        yield f"{table} needs a local model, and all models are endpoints': leave [{table}] out"


def _twice(names: Sequence[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """What to say to a name that does not exist."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    meant = f" (did you mean {near[0]!r}?)" if near else ""
    return f"there is no {kind} {name!r}{meant}; there is {', '.join(known) or 'none'}"
