"""What the repository keeps of a run on the lab: its measured bundle, and how the training went."""

import os
import shutil
from pathlib import Path

from align.errors import RecipeError
from align.mini.trained import PST_BUNDLE, PST_CURVE, WEIGHTS
from align.stages import bundle, sft
from policies.bundle import CONFIG_FILE, MANIFEST_FILE, WEIGHTS_FILE, Manifest, read_bundle


def keep(run: Path, kept_bundle: Path = PST_BUNDLE, kept_curve: Path = PST_CURVE) -> Manifest:
    """Put a run's bundle and loss curve where demo and tests look for them, in place of those kept before."""
    from align.train.sft import CURVE_FILE  # imports torch

    made = _bundle_of(run)
    manifest = read_bundle(made)
    if manifest.report_card is None:
        raise RecipeError(f"{made} has no report card: finish the run, then keep it")
    curve = run / sft.STAGE / sft.ADAPTER / CURVE_FILE
    if not curve.is_file():
        raise RecipeError(f"{curve} is missing: make the adapter again with --from {sft.STAGE}")
    check_writable(kept_bundle.parent)
    _replace_file(curve, kept_curve)
    _replace_bundle(made, kept_bundle)
    return manifest


def check_writable(directory: Path = WEIGHTS) -> None:
    """RecipeError, before any work, where what is kept could not be written."""
    if not os.access(directory, os.W_OK):
        raise RecipeError(f"{directory} cannot be written to: use a checkout of your own")


def _bundle_of(run: Path) -> Path:
    manifests = sorted((run / bundle.STAGE).glob(f"[!.]*/{MANIFEST_FILE}"))
    if len(manifests) != 1:
        raise RecipeError(f"{run} holds {len(manifests)} bundles where a finished run has one")
    return manifests[0].parent


def _replace_file(source: Path, target: Path) -> None:
    partial = target.with_name(f".{target.name}.partial")
    shutil.copyfile(source, partial)
    os.replace(partial, target)


def _replace_bundle(source: Path, target: Path) -> None:
    """The new one is whole before the old one steps aside."""
    partial, old = (target.with_name(f".{target.name}.{state}") for state in ("partial", "old"))
    for left_over in (partial, old):
        shutil.rmtree(left_over, ignore_errors=True)
    partial.mkdir()
    for file in (CONFIG_FILE, WEIGHTS_FILE, MANIFEST_FILE):
        shutil.copyfile(source / file, partial / file)
    read_bundle(partial)
    if target.exists():
        os.replace(target, old)
    os.replace(partial, target)
    shutil.rmtree(old, ignore_errors=True)
