"""The stage graph: which stage follows which, what each reads, and when it has to be made (again).

    queries -> trajectories -> gates -> rows -> sft -> bundle -> evaluate

Each stage has a folder in the run directory. It is skipped where its manifest is there and it was made
from the same recipe, seed and inputs; it goes on where it was killed; and where it was made from
anything else the run stops and says so, because rows of two makings must not mix and paid rows must
not vanish unasked. `--from STAGE` is how one asks: it makes that stage again, and those later ones
that its new result concerns.
"""

import fcntl
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from align.manifest import (
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
from align.recipe import Recipe, RecipeError, digest_of
from align.stages import bundle, evaluate, gates, queries, rows, sft, trajectories
from align.stages.base_model import base_digest, check_base
from align.stages.workspace import ROWS_FILE, Made, Workspace
from policies.catalog import load_catalog


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of the graph."""

    name: str
    make: Callable[[Workspace], Made]
    part: Callable[[Recipe], Any]
    """What of the recipe decides its result, as a JSON value."""
    reads: tuple[str, ...] = ()
    """Earlier stages whose results it reads."""
    reads_policies: bool = False
    reads_base: bool = False
    """Whether it reads the base model, which no stage makes."""
    check: Callable[[Workspace], None] = lambda _: None
    """Raises RecipeError for what would stop the stage; called before any stage begins."""


STAGES = (
    Stage(
        queries.STAGE,
        queries.make,
        part=lambda recipe: [recipe.queries.effective(), recipe.policies],
        reads_policies=True,
        check=queries.check,
    ),
    Stage(
        trajectories.STAGE,
        trajectories.make,
        part=lambda recipe: [recipe.trajectories.effective(), recipe.seed],
        reads=(queries.STAGE,),
        reads_policies=True,
        check=trajectories.check,
    ),
    Stage(
        gates.STAGE,
        gates.make,
        part=lambda recipe: [recipe.gates.effective(), recipe.trajectories.reasoning_format],
        reads=(queries.STAGE, trajectories.STAGE),
        reads_policies=True,
    ),
    Stage(rows.STAGE, rows.make, part=lambda _: None, reads=(queries.STAGE, gates.STAGE)),
    Stage(
        sft.STAGE,
        sft.make,
        part=lambda recipe: recipe.sft.effective(),
        reads=(rows.STAGE,),
        reads_base=True,
        check=check_base,
    ),
    Stage(
        bundle.STAGE,
        bundle.make,
        part=lambda recipe: [recipe.making(), recipe.bundle.effective()],
        reads=(rows.STAGE, sft.STAGE),
        reads_policies=True,
        reads_base=True,
    ),
    Stage(
        evaluate.STAGE,
        evaluate.make,
        part=lambda recipe: recipe.evaluate.effective(),
        reads=(bundle.STAGE,),
        reads_base=True,
    ),
)


def run(recipe: Recipe, directory: Path, *, redo_from: str | None = None, until: str | None = None) -> None:
    """Make every stage up to `until` that is not complete yet."""
    last = _place(until) if until else len(STAGES) - 1
    first_redone = _place(redo_from) if redo_from else len(STAGES)
    if redo_from and first_redone > last:
        raise RecipeError(f"--from {redo_from} comes after --until {until}: swap them")
    workspace = Workspace(recipe, load_catalog(recipe.policy_documents), directory)
    for stage in STAGES[: last + 1]:
        if read_manifest(workspace.folder(stage.name)) is None:
            stage.check(workspace)
    with _alone_in(directory):
        for place, stage in enumerate(STAGES[: last + 1]):
            if place >= first_redone:
                _discard(workspace, stage, asked_for=place == first_redone)
            _bring_up(workspace, stage)


def _place(name: str) -> int:
    names = [stage.name for stage in STAGES]
    if name not in names:
        raise RecipeError(f"there is no stage {name!r}: one of {', '.join(names)}")
    return names.index(name)


def _discard(workspace: Workspace, stage: Stage, *, asked_for: bool) -> None:
    """Discard what is stale, and what is complete if the user asked; what is unfinished goes on."""
    folder = workspace.folder(stage.name)
    complete = read_manifest(folder) is not None
    if (asked_for and complete) or origin_differs(folder, _origin(workspace, stage)):
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


def _origin(workspace: Workspace, stage: Stage) -> Origin:
    inputs = {name: _result_digest(workspace, name) for name in stage.reads}
    if stage.reads_policies:
        inputs["policies"] = workspace.catalog.digest
    if stage.reads_base:
        inputs["base model"] = base_digest(workspace)
    return Origin(
        stage=stage.name,
        recipe_digest=digest_of(stage.part(workspace.recipe)),
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


@contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """Hold the run directory; a second run on it would write into the same files."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RecipeError(
                f"{directory} is in use by another run: wait, or choose another --out"
            ) from None
        yield
