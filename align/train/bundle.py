"""Turn a trained adapter into a bundle: the directory a gateway accepts, its manifest written last."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoConfig

from align.train.bases import load_base, load_processor
from align.train.disk import disk_faults
from policies.bundle import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    BaseModelIdentity,
    BundleError,
    Manifest,
    ReportCard,
    bundle_digest,
    model_config_digest,
    write_manifest,
)
from policies.catalog import Catalog

TRAINED_WITH = ("torch", "transformers", "trl", "peft")


def base_identity(base: Path, base_id: str) -> BaseModelIdentity:
    """Who the base model is: its architecture and the digest of its config."""
    architecture = AutoConfig.from_pretrained(base).architectures[0]
    return BaseModelIdentity(id=base_id, architecture=architecture, config_digest=model_config_digest(base))


def write_bundle(
    adapter: Path,
    out: Path,
    *,
    name: str,
    base: BaseModelIdentity,
    catalog: Catalog,
    reasoning_format: str,
    recipe_digest: str,
    data_digest: str,
    seeds: dict[str, int],
) -> Manifest:
    """Publish an adapter at `out`, which appears whole or not at all; never over an existing bundle."""
    if out.exists():
        raise BundleError(f"{out} exists: a bundle is never written over, choose another place or remove it")
    with _appearing(out) as partial:
        for file in (CONFIG_FILE, WEIGHTS_FILE):
            shutil.copyfile(adapter / file, partial / file)
        manifest = Manifest(
            format_version=1,
            name=name,
            digest=bundle_digest(partial),
            base=base,
            policy_digest=catalog.digest,
            policies=dict(catalog.fingerprints),
            reasoning_format=reasoning_format,
            recipe_digest=recipe_digest,
            data_digest=data_digest,
            seeds=seeds,
            versions={package: version(package).split("+")[0] for package in TRAINED_WITH},
        )
        write_manifest(partial, manifest)
    return manifest


def write_merged(base: Path, adapter: Path, out: Path) -> None:
    """The whole model, the adapter merged into its weights, in its base's precision.

    For engines that load no adapter for its architecture; with all that the base came with. `out` appears
    whole or not at all; OSError on a full disk.
    """
    shutil.rmtree(out, ignore_errors=True)
    model = PeftModel.from_pretrained(load_base(base, torch.float32), adapter).merge_and_unload()
    with _appearing(out) as partial, disk_faults(out):
        model.to(AutoConfig.from_pretrained(base).dtype or torch.bfloat16).save_pretrained(partial)
        load_processor(base).save_pretrained(partial)
        for file in partial.glob("*.safetensors"):  # safetensors writes for its owner's eyes only
            shutil.copymode(partial / "config.json", file)


@contextmanager
def _appearing(out: Path) -> Iterator[Path]:
    """A directory to fill, at `out` once it is whole; no half of it stays, nor what a killed attempt left."""
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        os.replace(partial, out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def attach_report_card(bundle: Path, manifest: Manifest, card: ReportCard) -> Manifest:
    """Add what was measured; the digest stays, since it covers config and weights only."""
    complete = manifest.model_copy(update={"report_card": card})
    write_manifest(bundle, complete)
    return complete
