"""The bundle as a stage: the trained adapter with its birth certificate, as a gateway accepts it."""

import shutil
from pathlib import Path

from align.manifest import read_manifest
from align.recipe import digest_of
from align.stages import select, sft
from align.stages.base_model import base_directory, base_id
from align.stages.workspace import Made, Workspace

STAGE = "bundle"


def make(workspace: Workspace) -> Made:
    """Write the bundle; one that an interrupted attempt left is written again."""
    from align.train.bundle import base_identity, write_bundle  # imports torch

    recipe = workspace.recipe
    data = read_manifest(workspace.folder(select.STAGE))
    if data is None:
        raise RuntimeError("the bundle stage runs after select")
    out = bundle_directory(workspace)
    shutil.rmtree(out, ignore_errors=True)
    manifest = write_bundle(
        workspace.folder(sft.STAGE) / sft.ADAPTER,
        out,
        name=recipe.bundle.name,
        base=base_identity(base_directory(workspace), base_id(workspace)),
        catalog=workspace.catalog,
        reasoning_format=recipe.trajectories.reasoning_format,
        recipe_digest=digest_of(recipe.making()),
        data_digest=data.result_digest,
        seeds={"data": recipe.seed, "sft": recipe.sft.seed},
    )
    return Made(1, result_digest=manifest.digest)


def bundle_directory(workspace: Workspace) -> Path:
    """Where the run's bundle lies: the directory to give to a gateway."""
    return workspace.folder(STAGE) / workspace.recipe.bundle.name
