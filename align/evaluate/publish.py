"""What was measured goes into the report cards of the bundles that the recipe publishes."""

from collections import defaultdict
from collections.abc import Mapping

from align.errors import RecipeError
from align.evaluate.recipe import Evaluated, Evaluation
from align.evaluate.results import Results
from policies.bundle import Benchmark, Manifest, read_bundle

Benchmarks = Mapping[str, tuple[Benchmark, ...]]
"""By task."""


def check_cards(recipe: Evaluation, manifests: Mapping[str, Manifest]) -> None:
    """RecipeError, before anything is asked, where there is no card to write into."""
    for model in _published(recipe):
        if manifests[model.name].report_card is None:
            raise RecipeError(
                f"models.{model.name}: its bundle has no report card to add to: let `python -m align run` "
                "measure it first, or leave publish out"
            )


def publish(recipe: Evaluation, results: Results) -> None:
    """Add every benchmark that was measured; what a card says of others stays, or over more samples."""
    published = _published(recipe)
    if not published:
        return
    from align.train.bundle import attach_report_card  # imports torch

    for model in published:
        assert model.bundle is not None
        manifest = read_bundle(model.bundle)
        card = manifest.report_card
        assert card is not None
        benchmarks = _the_larger(card.benchmarks, _benchmarks(results, model.name))
        attach_report_card(model.bundle, manifest, card.model_copy(update={"benchmarks": benchmarks}))


def _published(recipe: Evaluation) -> list[Evaluated]:
    return [model for model in recipe.models if model.publish]


def _the_larger(known: Benchmarks, measured: Benchmarks) -> Benchmarks:
    """The weights are the same, so a look at a few samples tells less than what is known over many."""
    more = {task for task, lines in measured.items() if _samples(lines) >= _samples(known.get(task, ()))}
    return {**known, **{task: lines for task, lines in measured.items() if task in more}}


def _samples(lines: tuple[Benchmark, ...]) -> int:
    return max((line.n for line in lines), default=0)


def _benchmarks(results: Results, model: str) -> Benchmarks:
    """By task, a line for each measure."""
    found: dict[str, list[Benchmark]] = defaultdict(list)
    for rate in results.rates:
        if rate.model == model:
            line = Benchmark(
                measure=rate.measure,
                n=rate.n,
                unscored=rate.unscored,
                rate=rate.rate,
                distinct=rate.distinct,
            )
            found[rate.task].append(line)
    return {task: tuple(lines) for task, lines in found.items()}
