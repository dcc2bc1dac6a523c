"""The stage graph: which stage follows which, and what each reads.

    queries -> describe -> categorise -> trajectories -> gates -> score -> select
            -> mine -> derive -> pairs        where the recipe wants pairs
            -> sft -> srpo -> bundle -> evaluate

`align.run` brings them up.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from align.errors import RecipeError
from align.recipe import Recipe
from align.stages import (
    bundle,
    categorise,
    derive,
    describe,
    evaluate,
    gates,
    mine,
    pairs,
    queries,
    score,
    select,
    sft,
    srpo,
    trajectories,
)
from align.stages.trainable import check_training
from align.stages.workspace import Made, Workspace


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of the graph."""

    name: str
    make: Callable[[Workspace], Made]
    part: tuple[str, ...] = ()
    """Tables of the recipe that decide its result, as `Recipe.part` names them."""
    reads: tuple[str, ...] = ()
    """Earlier stages whose results it reads."""
    reads_policies: bool = False
    reads_base: bool = False
    """Whether it reads the base model, which no stage makes."""
    check: Callable[[Workspace], None] = lambda _: None
    """Raises RecipeError for what would stop the stage; called before any stage begins."""
    wanted: Callable[[Recipe], bool] = lambda _: True
    """Whether the recipe asks for it at all."""


_CASE = (queries.STAGE, describe.STAGE, categorise.STAGE)
"""What is known about a query: where no descriptions are made, that stage is not read."""
_FORMAT = "trajectories.reasoning_format"
_WITH_PAIRS: Callable[[Recipe], bool] = lambda recipe: recipe.pairs is not None  # noqa: E731
_WITH_SRPO: Callable[[Recipe], bool] = lambda recipe: recipe.srpo is not None  # noqa: E731

STAGES = (
    Stage(
        queries.STAGE,
        queries.make,
        part=("sources", "policies", "categorise.trust_source", "seed"),
        reads_policies=True,
        check=queries.check,
    ),
    Stage(
        describe.STAGE,
        describe.make,
        part=("describe", "roles.describer", "seed"),
        reads=(queries.STAGE,),
        wanted=lambda recipe: recipe.describe is not None,
    ),
    Stage(
        categorise.STAGE,
        categorise.make,
        part=("categorise", "roles.categoriser", "policies", "seed"),
        reads=(queries.STAGE, describe.STAGE),
        reads_policies=True,
    ),
    Stage(
        trajectories.STAGE,
        trajectories.make,
        part=("trajectories", "roles.teacher", "seed"),
        reads=_CASE,
        reads_policies=True,
        check=trajectories.check,
    ),
    Stage(
        gates.STAGE,
        gates.make,
        part=("gates", _FORMAT),
        reads=(categorise.STAGE, trajectories.STAGE),
        reads_policies=True,
    ),
    Stage(
        score.STAGE,
        score.make,
        part=("score", "roles.scorer", "trajectories.policy_tokens", "seed"),
        reads=(*_CASE, gates.STAGE),
        reads_policies=True,
    ),
    Stage(
        select.STAGE,
        select.make,
        part=("select", _FORMAT, "seed"),
        reads=(queries.STAGE, categorise.STAGE, score.STAGE),
        reads_policies=True,
    ),
    Stage(
        mine.STAGE,
        mine.make,
        part=("mine", "roles.miners", "roles.scorer", "trajectories.policy_tokens", _FORMAT, "seed"),
        reads=(*_CASE, score.STAGE),
        reads_policies=True,
        wanted=_WITH_PAIRS,
    ),
    Stage(
        derive.STAGE,
        derive.make,
        part=("derive", "mine", "roles.adversary", "trajectories.policy_tokens", _FORMAT, "seed"),
        reads=(*_CASE, score.STAGE, mine.STAGE),
        reads_policies=True,
        wanted=_WITH_PAIRS,
    ),
    Stage(
        pairs.STAGE,
        pairs.make,
        part=("pairs", "mine", "roles.teacher.model", _FORMAT, "seed"),
        reads=(queries.STAGE, categorise.STAGE, score.STAGE, mine.STAGE, derive.STAGE),
        reads_policies=True,
        wanted=_WITH_PAIRS,
    ),
    Stage(
        sft.STAGE,
        sft.make,
        part=("sft",),
        reads=(select.STAGE,),
        reads_base=True,
        check=check_training,
    ),
    Stage(
        srpo.STAGE,
        srpo.make,
        part=("srpo",),
        reads=(pairs.STAGE, sft.STAGE),
        reads_base=True,
        check=check_training,
        wanted=_WITH_SRPO,
    ),
    Stage(
        bundle.STAGE,
        bundle.make,
        part=("making", "bundle"),
        reads=(select.STAGE, sft.STAGE, srpo.STAGE),
        reads_policies=True,
        reads_base=True,
        check=bundle.check,
    ),
    Stage(
        evaluate.STAGE,
        evaluate.make,
        part=("evaluate",),
        reads=(bundle.STAGE,),
        reads_base=True,
        check=evaluate.check,
    ),
)


@dataclass(frozen=True, slots=True)
class Span:
    """Which stages a run is to bring up, and from where on anew."""

    first: str | None = None
    """Make this stage again even if it is complete."""
    last: str | None = None
    """Stop after this one."""

    def stages(self, graph: Sequence[Stage]) -> Sequence[Stage]:
        """The stages up to the last; RecipeError where the names make no sense."""
        last = place(graph, self.last) if self.last else len(graph) - 1
        if self.first and place(graph, self.first) > last:
            raise RecipeError(f"--from {self.first} comes after --to {self.last}: swap them")
        return graph[: last + 1]


ALL = Span()
"""The whole graph; what is complete stays."""


def stages_of(recipe: Recipe) -> tuple[Stage, ...]:
    """The graph, less what the recipe does not ask for."""
    return tuple(stage for stage in STAGES if stage.wanted(recipe))


def place(graph: Sequence[Stage], name: str) -> int:
    """Of the stage of that name; RecipeError where there is none."""
    names = [stage.name for stage in graph]
    if name not in names:
        known = {stage.name for stage in STAGES}
        why = "this recipe does not ask for the stage" if name in known else "there is no stage"
        raise RecipeError(f"{why} {name!r}: one of {', '.join(names)}")
    return names.index(name)
