"""Which variants are done and what came of them: a table for people, and the models of an evaluation.

Read from the files alone; nothing here trains.
"""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.table import Table

from align.baselines.make import BUNDLE
from align.baselines.variants import VARIANTS, Variant
from align.manifest import ORIGIN_FILE, StageManifest, read_manifest
from align.stages import pairs, select, sft, srpo
from align.stages.training import ADAPTER
from align.stages.workspace import ROWS_FILE
from align.train.curve import CURVE_FILE
from policies.bundle import read_bundle

MODELS_FILE = "models.toml"
ABLATION_COUNT = 200
"""Samples of each benchmark: enough to see which way an ablation goes."""


def table(variants: Iterable[Variant], out: Path) -> Table:
    """One line for each variant, done or not."""
    shown = Table(title=f"Variants in {out}")
    for heading in ("variant", "what it is"):
        shown.add_column(heading, overflow="fold")
    for heading in ("rows", "pairs", "steps", "minutes"):
        shown.add_column(heading, justify="right")
    shown.add_column("state", overflow="fold")
    for variant in variants:
        shown.add_row(variant.name, variant.about, *_line(variant, out / variant.name))
    return shown


def _line(variant: Variant, directory: Path) -> tuple[str, ...]:
    manifest = read_manifest(directory)
    if manifest is None:
        begun = (directory / ORIGIN_FILE).is_file()
        return "", "", "", "", "begun, goes on from its last checkpoint" if begun else "to do"
    counts = (_lines(directory / stage / ROWS_FILE) for stage in (select.STAGE, pairs.STAGE))
    served = read_bundle(directory / BUNDLE).served_name
    return *counts, _steps(directory), _minutes(manifest), f"done: {served}"


def _lines(path: Path) -> str:
    return f"{len(path.read_bytes().splitlines()):,}" if path.is_file() else "-"


def _steps(directory: Path) -> str:
    """Of each training, as its curve has them; the run's own stage 1 is not counted again."""
    curves = (directory / stage / ADAPTER / CURVE_FILE for stage in (sft.STAGE, srpo.STAGE))
    taken = [len(json.loads(curve.read_bytes())["loss"]) for curve in curves if curve.is_file()]
    return " + ".join(map(str, taken)) or "-"


def _minutes(manifest: StageManifest) -> str:
    return f"{manifest.seconds / 60:.1f}"


def write_models(out: Path) -> Path:
    """All that are done as `[[models]]` of an evaluation's recipe; bundles relative to where one works."""
    path = out / MODELS_FILE
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text("\n".join(_models(out)), encoding="utf-8")
    os.replace(partial, path)
    return path


def _models(out: Path) -> Iterator[str]:
    for variant in VARIANTS:
        if read_manifest(out / variant.name) is None:
            continue
        yield "[[models]]"
        yield f"name = {_quoted(variant.name)}"
        yield f"label = {_quoted(variant.label)}"
        yield f"group = {_quoted(variant.group)}"
        yield f"bundle = {_quoted((out / variant.name / BUNDLE).as_posix())}"
        if variant.count is not None:
            yield f"rows = {variant.count}"
        if variant.group == "ablation":
            yield f"count = {ABLATION_COUNT}"
        yield ""


def _quoted(text: str) -> str:
    """A basic string of TOML, of which JSON's are a part."""
    return json.dumps(text, ensure_ascii=False)
