"""The stage graph: which stage follows which, what each reads, and when it has to be made (again).

    queries -> describe -> categorise -> trajectories -> gates -> score -> select
            -> mine -> derive -> pairs        where the recipe wants pairs
            -> sft -> srpo -> bundle -> evaluate

Each stage has a folder in the run directory. It is skipped where its manifest is there and it was made
from the same recipe, seed and inputs; it goes on where it was killed; and where it was made from
anything else the run stops and says so, because rows of two makings must not mix and paid rows must
not vanish unasked. `--from STAGE` is how one asks: it makes that stage again, and those later ones
that its new result concerns. Replies lie in `calls.sqlite` and outlast even that.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from align import scale
from align.alone import alone_in
from align.errors import RecipeError
from align.estimate import Load, estimate
from align.manifest import (
    ORIGIN_FILE,
    Origin,
    StageManifest,
    StaleStage,
    begin,
    file_digest,
    forget,
    origin_differs,
    read_manifest,
    versions,
    write_manifest,
)
from align.recipe import Recipe, digest_of
from align.report.page import write_report
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
from align.stages.asking_stages import ASKING
from align.stages.base_model import base_digest
from align.stages.trainable import check_training
from align.stages.workspace import ROWS_FILE, Made, Workspace
from align.teacher.desk import check_keys
from align.teacher.store import absorb, forget_rejections
from policies.catalog import load_catalog


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
        last = _place(graph, self.last) if self.last else len(graph) - 1
        if self.first and _place(graph, self.first) > last:
            raise RecipeError(f"--from {self.first} comes after --to {self.last}: swap them")
        return graph[: last + 1]


def stages_of(recipe: Recipe) -> tuple[Stage, ...]:
    """The graph, less what the recipe does not ask for."""
    return tuple(stage for stage in STAGES if stage.wanted(recipe))


def run(recipe: Recipe, directory: Path, span: Span = Span(), *, workers: int = 1) -> None:
    """Make every stage of the span that is not complete yet."""
    stages = span.stages(stages_of(recipe))
    workspace = Workspace(recipe, load_catalog(recipe.policy_documents), directory, workers)
    unmade = [stage for stage in stages if read_manifest(workspace.folder(stage.name)) is None]
    redoable = stages[_place(stages, span.first) :] if span.first else ()
    asking = any(stage.name in ASKING for stage in (*unmade, *redoable))
    if asking:
        check_keys(recipe)
        scale.check_workers(recipe, workers)
    for check in dict.fromkeys(stage.check for stage in unmade):
        check(workspace)
    redone = False
    alone = alone_in(directory, "another run: wait, or choose another --out")
    with alone, scale.workers(workers if asking else 1):
        absorb(directory)
        for stage in stages:
            redone = redone or stage.name == span.first
            if redone:
                _discard(workspace, stage, asked_for=stage.name == span.first)
            _bring_up(workspace, stage)


def dry_run(recipe: Recipe, directory: Path, span: Span = Span()) -> list[Load]:
    """What bringing up the span would ask and spend; nothing is written and nobody is asked.

    StaleStage where the run would stop for what it finds.
    """
    stages = span.stages(stages_of(recipe))
    names = {stage.name for stage in stages}
    workspace = Workspace(recipe, load_catalog(recipe.policy_documents), directory)
    again = _made_again(workspace, stages, span.first)
    return [load for load in estimate(workspace, again) if load.stage in names]


def _made_again(workspace: Workspace, stages: Sequence[Stage], first: str | None) -> dict[str, bool]:
    """The stages that a run from `first` may ask anew, and whether each is then certain to ask the same.

    What reads a stage that is yet to be made is among them: nobody knows whether its input will change.
    So is `first` where it is unfinished and goes on: its rejections are forgotten.
    """
    again: dict[str, bool] = {}
    unsettled: set[str] = set()
    redone = False
    for stage in stages:
        redone = redone or stage.name == first
        folder = workspace.folder(stage.name)
        complete = read_manifest(folder) is not None
        if found := _found(folder, stage.name):
            expected = _expected(workspace, stage, found, unsettled)
            if not redone:
                begin(folder, expected)  # which writes nothing, because the stage was begun
            else:
                same = found == expected and unsettled.isdisjoint(stage.reads)
                if not same or stage.name == first:
                    again[stage.name] = same
        if not complete or stage.name in again:
            unsettled.add(stage.name)
    return again


def _found(folder: Path, stage: str) -> Origin | None:
    """What the rows of a stage that was begun are made from; RecordError where that cannot be read."""
    if not origin_differs(folder, Origin(stage=stage, recipe_digest="", inputs={})):
        return None
    return Origin.model_validate_json((folder / ORIGIN_FILE).read_bytes())


def _expected(workspace: Workspace, stage: Stage, found: Origin, unsettled: set[str]) -> Origin:
    """The origin that a run would give the stage, with what was found for what nobody knows yet.

    The base model counts as that: it may have gigabytes, and no reply depends on it.
    """
    made = {other.name for other in stages_of(workspace.recipe)}
    inputs = {name: found.inputs.get(name, "") for name in stage.reads if name in made}
    inputs |= {name: _result_digest(workspace, name) for name in inputs.keys() - unsettled}
    if stage.reads_policies:
        inputs["policies"] = workspace.catalog.digest
    if stage.reads_base:
        inputs["base model"] = found.inputs.get("base model", "")
    return Origin(
        stage=stage.name,
        recipe_digest=digest_of(workspace.recipe.part(*stage.part)),
        inputs=inputs,
    )


def _place(graph: Sequence[Stage], name: str) -> int:
    names = [stage.name for stage in graph]
    if name not in names:
        known = {stage.name for stage in STAGES}
        why = "this recipe does not ask for the stage" if name in known else "there is no stage"
        raise RecipeError(f"{why} {name!r}: one of {', '.join(names)}")
    return names.index(name)


def _discard(workspace: Workspace, stage: Stage, *, asked_for: bool) -> None:
    """Discard what is stale, and what is complete if the user asked; what is unfinished goes on.

    Whoever asks for a stage also wants to ask again what servers would not answer, unfinished or not.
    """
    folder = workspace.folder(stage.name)
    complete = read_manifest(folder) is not None
    stale = origin_differs(folder, _origin(workspace, stage))
    if stale or asked_for:
        forget_rejections(workspace.directory, stage.name)
    if stale or (asked_for and complete):
        forget(folder)


def _bring_up(workspace: Workspace, stage: Stage) -> None:
    folder = workspace.folder(stage.name)
    origin = _origin(workspace, stage)
    begin(folder, origin)
    if (manifest := read_manifest(folder)) is not None:
        _say(stage.name, f"complete: {manifest.rows} rows")
        return
    start = time.monotonic()
    made = stage.make(workspace)
    manifest = StageManifest(
        format_version=1,
        origin=origin,
        seed=workspace.recipe.seed,
        rows=made.rows,
        result_digest=made.result_digest or file_digest(folder / ROWS_FILE),
        dropped=dict(made.dropped),
        versions=versions(),
        seconds=round(time.monotonic() - start, 3),
    )
    write_manifest(folder, manifest)
    _say(stage.name, _summary(manifest))
    write_report(workspace.directory)


def _origin(workspace: Workspace, stage: Stage) -> Origin:
    made = {other.name for other in stages_of(workspace.recipe)}
    inputs = {name: _result_digest(workspace, name) for name in stage.reads if name in made}
    if stage.reads_policies:
        inputs["policies"] = workspace.catalog.digest
    if stage.reads_base:
        inputs["base model"] = base_digest(workspace)
    return Origin(
        stage=stage.name,
        recipe_digest=digest_of(workspace.recipe.part(*stage.part)),
        inputs=inputs,
    )


def _result_digest(workspace: Workspace, name: str) -> str:
    """What an earlier stage left, by its manifest; StaleStage where its rows are no longer those."""
    folder = workspace.folder(name)
    manifest = read_manifest(folder)
    if manifest is None:
        raise RuntimeError(f"{name} is read before it is complete: the graph is out of order")
    rows_path = folder / ROWS_FILE
    if rows_path.exists() and file_digest(rows_path) != manifest.result_digest:
        raise StaleStage(f"{rows_path} was changed after it was written: make it again with --from {name}")
    return manifest.result_digest


def _summary(manifest: StageManifest) -> str:
    drops = ", ".join(f"{count} {reason}" for reason, count in sorted(manifest.dropped.items()))
    return f"{manifest.rows} rows in {manifest.seconds:.1f} s" + (f"; dropped: {drops}" if drops else "")


def _say(stage: str, text: str) -> None:
    sys.stderr.write(f"{stage}: {text}\n")
