"""One variant from its data to its bundle, by the jobs that the run's own stages are trained with.

    OUT/NAME/select/rows.jsonl  pairs/rows.jsonl  sft/adapter  srpo/adapter  bundle  manifest.json

The manifest is written last: what has one is skipped. A killed variant goes on from its last checkpoint.
"""

import shutil
import time
from collections import Counter
from pathlib import Path

from align.alone import alone_in
from align.baselines.plan import Plan
from align.errors import RecipeError
from align.manifest import StageManifest, StaleStage, begin, read_manifest, versions, write_manifest
from align.recipe import digest_of
from align.records import write_rows
from align.stages import pairs, select, sft, srpo
from align.stages.base_model import base_directory, base_id
from align.stages.training import adapter_of, trained
from align.stages.workspace import ROWS_FILE
from align.train.job import Job, Stage1, Stage2

BUNDLE = "bundle"


def make(plan: Plan) -> StageManifest:
    """Bring the variant up to its bundle; its manifest's `rows` are those of stage 1.

    RecipeError where its place holds another making, StageAborted where a training fails.
    """
    # Several commands may share the variants of one run out.
    with alone_in(plan.directory, "another command: wait, or leave it out"):
        _begin(plan)
        if (manifest := read_manifest(plan.directory)) is not None:
            return manifest
        start = time.monotonic()
        adapter, dropped = _trained(plan)
        manifest = StageManifest(
            format_version=1,
            origin=plan.origin,
            seed=plan.parent.recipe.seed,
            rows=len(plan.data.rows),
            result_digest=_bundled(plan, adapter),
            dropped=dict(dropped),
            versions=versions(),
            seconds=round(time.monotonic() - start, 3),
        )
        write_manifest(plan.directory, manifest)
    return manifest


def _begin(plan: Plan) -> None:
    try:
        begin(plan.directory, plan.origin)
    except StaleStage:
        raise RecipeError(
            f"{plan.directory} was begun with other rows, settings or weights: remove it, or choose "
            "another --out"
        ) from None


def _trained(plan: Plan) -> tuple[Path, Counter[str]]:
    """The last adapter, and what could not be trained on, by reason."""
    write_rows(plan.directory / select.STAGE / ROWS_FILE, plan.data.rows)
    adapter, dropped = adapter_of(plan.parent.workspace, sft.STAGE), Counter[str]()
    if not plan.takes_stage_1:
        job = _job(plan, select.STAGE, sft.STAGE, Stage1(settings=plan.sft))
        adapter, dropped = job.out, trained(plan.workspace, sft.STAGE, job).dropped
    if plan.srpo is None:
        return adapter, dropped
    write_rows(plan.directory / pairs.STAGE / ROWS_FILE, plan.data.pairs)
    job = _job(plan, pairs.STAGE, srpo.STAGE, Stage2(settings=plan.srpo, sft_adapter=adapter))
    return job.out, dropped + trained(plan.workspace, srpo.STAGE, job).dropped


def _job(plan: Plan, rows: str, stage: str, what: Stage1 | Stage2) -> Job:
    parent = plan.parent.workspace
    return Job(
        rows=plan.directory / rows / ROWS_FILE,
        images_root=parent.directory,
        base=base_directory(parent),
        out=adapter_of(plan.workspace, stage),
        reasoning_format=parent.recipe.trajectories.reasoning_format,
        what=what,
    )


def _bundled(plan: Plan, adapter: Path) -> str:
    """The bundle's digest; one that a killed attempt left is written again."""
    from align.train.bundle import base_identity, write_bundle  # imports torch

    parent, out = plan.parent.workspace, plan.directory / BUNDLE
    shutil.rmtree(out, ignore_errors=True)
    base, data = base_directory(parent), list(plan.digests.values())
    seeds = {"data": parent.recipe.seed, "sft": plan.sft.seed}
    return write_bundle(
        adapter,
        out,
        name=plan.variant.name,
        base=base_identity(base, base_id(parent)),
        catalog=parent.catalog,
        reasoning_format=parent.recipe.trajectories.reasoning_format,
        recipe_digest=digest_of(plan.origin.model_dump()),
        data_digest=data[0] if len(data) == 1 else digest_of(data),
        seeds=seeds | ({"srpo": plan.srpo.seed} if plan.srpo else {}),
    ).digest
