"""Two figures, as SVG and PNG: attention by layer, and its decay over the reply."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from align.attention.metric import Metric
from align.attention.sections import Section
from align.attention.summary import Estimate
from align.attention.table import HEADINGS
from align.attention.written import Measurement

LAYERS_FIGURE = "attention-by-layer"
DECAY_FIGURE = "attention-decay"
_SECTIONS = (Section.THINK, Section.ANSWER)
_ROWS = (Metric.MASS, Metric.LIFT, Metric.PULL)
_WITHOUT_SINKS = {Metric.MASS: Metric.MASS_NO_SINKS, Metric.LIFT: Metric.LIFT_NO_SINKS}
_COLOURS = ("#6b7680", "#b5523b", "#3c74a6", "#dba944", "#5f8f5a", "#8a5fa0")
Line: TypeAlias = list[tuple[float, Estimate]]
"""Places along the axis with what was measured there."""


def draw(measurement: Measurement, directory: Path) -> list[Path]:
    """Write both figures; returns where they are."""
    from matplotlib import rc_context

    with rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        by_layer = _figure(measurement, "layer", lambda *which: _by_layer(measurement, *which))
        decay = _figure(
            measurement, "tokens since the section began", lambda *which: _decay(measurement, *which)
        )
        return [*_saved(by_layer, directory / LAYERS_FIGURE), *_saved(decay, directory / DECAY_FIGURE)]


def _figure(measurement: Measurement, axis: str, line: Callable[[str, Section, Metric], Line]) -> Any:
    """Metrics down, thinking and answer across; one line for each model."""
    from matplotlib.figure import Figure  # without pyplot: no state, no display
    from matplotlib.ticker import MaxNLocator

    metrics = [metric for metric in _ROWS if _is_measured(measurement, metric)]
    figure = Figure(figsize=(9, 1 + 2.6 * len(metrics)), layout="constrained")
    grid = figure.subplots(len(metrics), len(_SECTIONS), squeeze=False, sharex="col", sharey="row")
    for metric, row in zip(metrics, grid, strict=True):
        row[0].set_ylabel(HEADINGS[metric].replace(" %", ""))
        for section, axes in zip(_SECTIONS, row, strict=True):
            _panel(axes, measurement, partial(_at, line, section), metric)
    for section, top, bottom in zip(_SECTIONS, grid[0], grid[-1], strict=True):
        top.set_title(section.value)
        bottom.set_xlabel(axis)
        bottom.xaxis.set_major_locator(MaxNLocator(integer=True))
    told = f"attention to the picture over {measurement.method['text']} replies"
    figure.suptitle(f"{told}; bands: 95 % over replies")
    handles, labels = grid[0][0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)), frameon=False)
    return figure


def _at(line: Callable[[str, Section, Metric], Line], section: Section, name: str, metric: Metric) -> Line:
    return line(name, section, metric)


def _panel(axes: Any, measurement: Measurement, line: Callable[[str, Metric], Line], metric: Metric) -> None:
    for place, name in enumerate(measurement.models):
        colour = _COLOURS[place % len(_COLOURS)]
        _plot(axes, line(name, metric), colour, name, "-")
        if metric in _WITHOUT_SINKS:
            _plot(axes, line(name, _WITHOUT_SINKS[metric]), colour, f"{name}, without sinks", "--")
    if metric is Metric.LIFT:
        axes.axhline(1, color="#20252b", linewidth=0.6, linestyle=":")  # what even attention would give
    axes.set_ylim(bottom=0)


def _plot(axes: Any, line: Line, colour: str, name: str, style: str) -> None:
    """A line with its interval as a band; only the solid one, or the bands hide each other."""
    if not line:
        return
    places, found = [place for place, _ in line], [one for _, one in line]
    axes.plot(
        places,
        [one.value for one in found],
        style,
        color=colour,
        label=name,
        linewidth=1.4,
        marker=".",
        markersize=4,
    )
    banded = [(place, one.low, one.high) for place, one in line if one.low is not None]
    if style == "-" and banded:
        at, low, high = zip(*banded, strict=True)
        axes.fill_between(at, low, high, color=colour, alpha=0.2, linewidth=0)


def _by_layer(measurement: Measurement, name: str, section: Section, metric: Metric) -> Line:
    found: Sequence[Estimate | None] = measurement.models[name].layers.get(section, {}).get(metric, ())
    return [(layer, one) for layer, one in zip(measurement.layers, found, strict=False) if one]


def _decay(measurement: Measurement, name: str, section: Section, metric: Metric) -> Line:
    points = measurement.models[name].decay.get(section, {}).get(metric, ())
    return [((point.first + point.last) / 2, point.estimate) for point in points]


def _is_measured(measurement: Measurement, metric: Metric) -> bool:
    return any(metric in found for model in measurement.models.values() for found in model.layers.values())


def _saved(figure: Any, path: Path) -> Iterator[Path]:
    for suffix in (".svg", ".png"):
        target = path.with_suffix(suffix)
        figure.savefig(target, dpi=160, facecolor="white", metadata=_UNDATED[suffix])
        yield target


_UNDATED: dict[str, dict[str, str | None]] = {".svg": {"Date": None}, ".png": {"Software": None}}
"""Equal numbers give equal files."""
