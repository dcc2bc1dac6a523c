"""What was measured, as files: all of it as JSON, and flat as CSV."""

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from align.attention.metric import Metric
from align.attention.sections import Section
from align.attention.summary import Estimate, ModelSummary

JSON_FILE = "attention.json"
CSV_FILE = "attention.csv"


@dataclass(frozen=True)
class Measurement:
    """A whole run of the instrument."""

    method: Mapping[str, Any]
    """Settings, sink dimensions, memory: what must be known to read the numbers."""
    layers: tuple[int, ...]
    """Numbers of the layers that were measured."""
    models: Mapping[str, ModelSummary]
    differences: Mapping[str, Mapping[Section, Mapping[Metric, Estimate]]]
    """Of each adapter from the base model, question by question."""


def write(measurement: Measurement, directory: Path) -> None:
    """Write both files into `directory`."""
    text = json.dumps(asdict(measurement), indent=1, allow_nan=False)
    (directory / JSON_FILE).write_text(f"{text}\n", encoding="utf-8")
    with (directory / CSV_FILE).open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(("model", "section", "metric", "over", "at", "value", "low", "high", "n"))
        lines.writerows(_lines(measurement))


def _lines(measurement: Measurement) -> Iterator[tuple[Any, ...]]:
    """`over` is layers (their mean), layer or position; a difference is called `NAME less base`."""
    for name, model in measurement.models.items():
        yield from _overall(name, model.overall)
        for section, metrics in model.layers.items():
            for metric, found in metrics.items():
                numbered = zip(measurement.layers, found, strict=True)
                yield from (
                    _line(name, section, metric, "layer", layer, one) for layer, one in numbered if one
                )
        for section, curves in model.decay.items():
            for metric, points in curves.items():
                for point in points:
                    at = f"{point.first}-{point.last}"
                    yield _line(name, section, metric, "position", at, point.estimate)
    for name, sections in measurement.differences.items():
        yield from _overall(f"{name} less base", sections)


def _overall(name: str, sections: Mapping[Section, Mapping[Metric, Estimate]]) -> Iterator[tuple[Any, ...]]:
    for section, metrics in sections.items():
        for metric, one in metrics.items():
            yield _line(name, section, metric, "layers", "", one)


def _line(
    name: str, section: Section, metric: Metric, over: str, at: int | str, one: Estimate
) -> tuple[Any, ...]:
    return name, section.value, metric.value, over, at, one.value, one.low, one.high, one.n
