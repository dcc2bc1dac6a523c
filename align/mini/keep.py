"""What the repository keeps of a run on the lab: its measured bundles, and how their trainings went."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from align.errors import RecipeError
from align.mini.trained import WEIGHTS, curve_of
from align.stages import bundle, sft, srpo
from align.stages.training import ADAPTER
from align.train.curve import CURVE_FILE
from policies.bundle import CONFIG_FILE, MANIFEST_FILE, WEIGHTS_FILE, Manifest, read_bundle

_STAGE_OF_SEED = {"srpo": srpo.STAGE, "sft": sft.STAGE}
"""The last training that a bundle went through, by the seeds that its manifest names."""


def keep(run: Path, kept: Path = WEIGHTS) -> list[Manifest]:
    """Put a run's bundles and loss curves where demo and tests look, in place of those kept before."""
    made = {directory: _measured(directory) for directory in _bundles_of(run)}
    curves = {directory: _curve_of(run, manifest) for directory, manifest in made.items()}
    check_writable(kept)
    for directory, manifest in made.items():
        _replace_file(curves[directory], curve_of(kept / manifest.name))
        _replace_bundle(directory, kept / manifest.name)
    return list(made.values())


def check_writable(directory: Path = WEIGHTS) -> None:
    """RecipeError, before any work, where what is kept could not be written."""
    if not os.access(directory, os.W_OK):
        raise RecipeError(f"{directory} cannot be written to: use a checkout of your own")


def _bundles_of(run: Path) -> list[Path]:
    manifests = sorted((run / bundle.STAGE).glob(f"[!.]*/{MANIFEST_FILE}"))
    if not manifests:
        raise RecipeError(f"{run} holds no bundle: finish the run, then keep it")
    return [manifest.parent for manifest in manifests]


def _measured(directory: Path) -> Manifest:
    manifest = read_bundle(directory)
    if manifest.report_card is None:
        raise RecipeError(f"{directory} has no report card: finish the run, then keep it")
    return manifest


def _curve_of(run: Path, manifest: Manifest) -> Path:
    stage = next(stage for seed, stage in _STAGE_OF_SEED.items() if seed in manifest.seeds)
    curve = run / stage / ADAPTER / CURVE_FILE
    if not curve.is_file():
        raise RecipeError(f"{curve} is missing: make the adapter again with --from {stage}")
    return curve


def _replace_file(source: Path, target: Path) -> None:
    partial = target.with_name(f".{target.name}.partial")
    shutil.copyfile(source, partial)
    os.replace(partial, target)


def _replace_bundle(source: Path, target: Path) -> None:
    read_bundle(source)
    replace_directory(source, target, (CONFIG_FILE, WEIGHTS_FILE, MANIFEST_FILE))


def replace_directory(source: Path, target: Path, files: Iterable[str]) -> None:
    """Put these files of `source` in the place of `target`: whole before what was there steps aside."""
    partial, old = (target.with_name(f".{target.name}.{state}") for state in ("partial", "old"))
    for left_over in (partial, old):
        shutil.rmtree(left_over, ignore_errors=True)
    partial.mkdir()
    for file in files:
        shutil.copyfile(source / file, partial / file)
    if target.exists():
        os.replace(target, old)
    os.replace(partial, target)
    shutil.rmtree(old, ignore_errors=True)
