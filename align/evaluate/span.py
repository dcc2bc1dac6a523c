"""What of a recipe one call of the command asks."""

from dataclasses import dataclass

from align.errors import RecipeError
from align.evaluate.contradictions import unknown
from align.evaluate.recipe import Evaluation
from policies.bundle import MANIFEST_FILE


@dataclass(frozen=True, slots=True)
class Span:
    """What of the recipe is asked this time; results are gathered over all that was ever asked."""

    only: tuple[str, ...] = ()
    """Benchmarks; none: all."""
    models: tuple[str, ...] = ()
    """None: all."""
    count: int | None = None
    """Samples of each benchmark at most."""

    def takes(self, model: str, task: str) -> bool:
        """Whether this benchmark is to be asked of this model."""
        return (not self.only or task in self.only) and (not self.models or model in self.models)

    @property
    def is_whole(self) -> bool:
        """Whether nothing of the recipe is left out; fewer samples are still all of it."""
        return not (self.only or self.models)


def check_span(recipe: Evaluation, span: Span) -> None:
    """RecipeError where the span names what the recipe does not have."""
    tasks = [one.task for one in recipe.benchmarks]
    models = [model.name for model in recipe.models]
    for option, kind, given, known in (
        ("--only", "benchmark", span.only, tasks),
        ("--models", "model", span.models, models),
    ):
        for name in given:
            if name not in known:
                raise RecipeError(f"{option}: {unknown(kind, name, known)}")


def of_what_there_is(recipe: Evaluation, span: Span) -> tuple[Evaluation, list[str]]:
    """The recipe without what is not trained yet and need not be, and a note of each.

    Main models and those that the span names stay, and are refused later if they are not there.
    """
    unmade = {
        model.name
        for model in recipe.models
        if model.bundle is not None and not (model.bundle / MANIFEST_FILE).is_file()
        if (model.name not in span.models if span.models else model.group != "main")
    }
    if not unmade:
        return recipe, []
    models = tuple(model for model in recipe.models if model.name not in unmade)
    pairs = tuple(pair for pair in recipe.compare.pairs if not unmade & set(pair))
    compare = recipe.compare.model_copy(update={"pairs": pairs})
    notes = [
        f"models.{name} is left out of these results: its bundle is not there yet" for name in sorted(unmade)
    ]
    return recipe.model_copy(update={"models": models, "compare": compare}), notes
