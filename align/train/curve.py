"""How a training went, step by step: as JSON and CSV for programs, as a picture for people."""

import csv
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CURVE_FILE = "training.json"
CSV_FILE = "training.csv"
PICTURE_FILE = "training.svg"
PANELS = (
    ("loss", ("loss",)),
    ("rewards", ("rewards/chosen", "rewards/rejected")),
    ("margin", ("rewards/margins",)),
    ("pairs the right way round", ("rewards/accuracies",)),
    ("gradient norm", ("grad_norm",)),
    ("learning rate", ("learning_rate",)),
)
"""Titles, and what is drawn where the training has it."""


def steps_of(log: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of a trainer's log: one entry for each optimizer step."""
    return [dict(entry) for entry in log if "loss" in entry]


def write_curve(steps: Sequence[Mapping[str, Any]], out: Path) -> None:
    """Write all three files; the CSV has a column for whatever some step has."""
    curve = {"loss": [step["loss"] for step in steps]}
    _replace(out / CURVE_FILE, json.dumps(curve) + "\n")
    write_csv(steps, out)
    if steps:
        _draw(steps, out / PICTURE_FILE)


def write_csv(steps: Sequence[Mapping[str, Any]], out: Path) -> None:
    """Also called while the training runs."""
    columns = list(dict.fromkeys(key for step in steps for key in ("step", "epoch", *step)))
    partial = out / f".{CSV_FILE}.partial"
    with partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(steps)
    os.replace(partial, out / CSV_FILE)


def _draw(steps: Sequence[Mapping[str, Any]], path: Path) -> None:
    from matplotlib.figure import Figure

    panels = [panel for panel in PANELS if panel[1][0] in steps[-1]]
    figure = Figure(figsize=(10, 2.6 * ((len(panels) + 1) // 2)), layout="constrained")
    axes = figure.subplots((len(panels) + 1) // 2, 2, squeeze=False).flat
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    for axis, (title, names) in zip(axes, panels, strict=False):
        for name in names:
            drawn = [(step["step"], step[name]) for step in steps if name in step]
            axis.plot(*zip(*drawn, strict=True), label=name.rpartition("/")[2], linewidth=1.2)
        axis.set_title(title, loc="left", fontsize=10)
        axis.set_xlabel("step", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.25)
        if len(names) > 1:
            axis.legend(fontsize=8, frameon=False)
    figure.savefig(path, metadata={"Date": None})


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
