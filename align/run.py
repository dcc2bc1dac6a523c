"""Brings up the stages of a recipe (`align.graph`) in a run directory, as far as they are not made yet.

Each stage has a folder. It is skipped where its manifest is there and it was made from the same recipe,
seed and inputs; it goes on where it was killed; and where it was made from anything else the run stops
and says so, because rows of two makings must not mix and paid rows must not vanish unasked.
`--from STAGE` is how one asks: it makes that stage again, and those later ones that its new result
concerns. Replies lie in `calls.sqlite` and outlast even that.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from align import scale
from align.alone import alone_in
from align.estimate import Load, estimate
from align.graph import ALL, Span, Stage, place, stages_of
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
from align.stages.asking_stages import ASKING
from align.stages.base_model import base_digest
from align.stages.workspace import ROWS_FILE, Workspace
from align.teacher.desk import check_keys
from align.teacher.store import absorb, forget_rejections
from policies.catalog import load_catalog


def run(recipe: Recipe, directory: Path, span: Span = ALL, *, workers: int = 1) -> None:
    """Make every stage of the span that is not complete yet."""
    stages = span.stages(stages_of(recipe))
    workspace = Workspace(recipe, load_catalog(recipe.policy_documents), directory, workers)
    unmade = [stage for stage in stages if read_manifest(workspace.folder(stage.name)) is None]
    redoable = stages[place(stages, span.first) :] if span.first else ()
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


def dry_run(recipe: Recipe, directory: Path, span: Span = ALL) -> list[Load]:
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
