"""Bundles as a stage: each trained adapter with its birth certificate, as a gateway accepts it."""

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from align.errors import RecipeError
from align.manifest import read_manifest
from align.recipe import digest_of
from align.recipe_tables import MERGED
from align.stages import pairs, select, sft, srpo
from align.stages.base_model import base_directory, base_id, base_is_merged
from align.stages.training import adapter_of
from align.stages.workspace import Made, Workspace

STAGE = "bundle"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A bundle that the recipe asks for."""

    name: str
    stage: str
    """Whose adapter it holds."""
    making: dict[str, Any]
    """All of the recipe that decides it."""
    data: tuple[str, ...]
    """The stages whose rows it saw."""
    seeds: dict[str, int]


def wanted(workspace: Workspace) -> Iterator[Wanted]:
    """Stage 1's, and stage 2's where there is one."""
    recipe = workspace.recipe
    seeds = {"data": recipe.seed, "sft": recipe.sft.seed}
    yield Wanted(recipe.bundle.sft, sft.STAGE, recipe.making(), (select.STAGE,), seeds)
    if recipe.srpo and recipe.bundle.srpo:
        yield Wanted(
            recipe.bundle.srpo,
            srpo.STAGE,
            recipe.making_both(),
            (select.STAGE, pairs.STAGE),
            seeds | {"srpo": recipe.srpo.seed},
        )


def check(workspace: Workspace) -> None:
    """RecipeError, before any work, where the adapters alone could be loaded nowhere."""
    if base_is_merged(workspace) and not workspace.recipe.bundle.merged:
        raise RecipeError(
            f"[sft] base = {workspace.recipe.sft.base!r}: engines load no adapter for its architecture, so "
            "[bundle] needs merged = true"
        )


def make(workspace: Workspace) -> Made:
    """Write the bundles; those that an interrupted attempt left are written again."""
    digests = [_write(workspace, bundle) for bundle in wanted(workspace)]
    return Made(len(digests), result_digest=hashlib.sha256("".join(digests).encode()).hexdigest())


def _write(workspace: Workspace, bundle: Wanted) -> str:
    from align.train.bundle import base_identity, write_bundle, write_merged  # imports torch

    recipe, base = workspace.recipe, base_directory(workspace)
    out, adapter = bundle_directory(workspace, bundle.name), adapter_of(workspace, bundle.stage)
    shutil.rmtree(out, ignore_errors=True)
    manifest = write_bundle(
        adapter,
        out,
        name=bundle.name,
        base=base_identity(base, base_id(workspace)),
        catalog=workspace.catalog,
        reasoning_format=recipe.trajectories.reasoning_format,
        recipe_digest=digest_of(bundle.making),
        data_digest=_data_digest(workspace, bundle.data),
        seeds=bundle.seeds,
    )
    if recipe.bundle.merged:
        write_merged(base, adapter, merged_directory(workspace, bundle.name))
    return manifest.digest


def _data_digest(workspace: Workspace, stages: tuple[str, ...]) -> str:
    """Of the one stage's rows as they lie, or of several stages' digests."""
    manifests = [read_manifest(workspace.folder(stage)) for stage in stages]
    digests = [manifest.result_digest for manifest in manifests if manifest]
    if len(digests) < len(stages):
        raise RuntimeError("bundles are written after the rows they saw")
    return digests[0] if len(digests) == 1 else digest_of(digests)


def bundle_directory(workspace: Workspace, name: str) -> Path:
    """Where a bundle lies: the directory to give to a gateway."""
    return workspace.folder(STAGE) / name


def merged_directory(workspace: Workspace, name: str) -> Path:
    """Where the whole model lies, for engines that load no adapter."""
    return workspace.folder(STAGE) / f"{name}{MERGED}"
