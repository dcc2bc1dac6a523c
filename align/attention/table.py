"""The numbers as tables for people: what each model does, and how the adapters differ from the base."""

from collections.abc import Iterator, Mapping

from rich.table import Table

from align.attention.metric import Metric
from align.attention.sections import Section, Split
from align.attention.summary import Estimate, ModelSummary
from align.attention.written import Measurement

HEADINGS = {
    Metric.MASS: "image mass %",
    Metric.LIFT: "lift",
    Metric.MASS_NO_SINKS: "image mass %, without sinks",
    Metric.LIFT_NO_SINKS: "lift, without sinks",
    Metric.SINKS: "on sinks %",
    Metric.IMAGE_SINKS: "on image sinks %",
    Metric.PULL: "pull of the picture",
}
SPLITS = {
    Split.WHOLE: "with thinking and answer",
    Split.NO_THINKING: "without thinking",
    Split.NO_ANSWER: "without answer",
    Split.EMPTY: "empty",
}
_SHARES = {Metric.MASS, Metric.MASS_NO_SINKS, Metric.SINKS, Metric.IMAGE_SINKS}


def tables(measurement: Measurement) -> Iterator[Table]:
    """What was replied, what was measured, and the differences."""
    yield _replies(measurement.models)
    overall = {name: model.overall for name, model in measurement.models.items()}
    yield _numbers("attention of generated tokens to the picture, mean over layers", overall)
    if measurement.differences:
        named = {f"{name} less base": found for name, found in measurement.differences.items()}
        yield _numbers("differences, question by question", named)


def _replies(models: Mapping[str, ModelSummary]) -> Table:
    table = Table("replies", *models, title="replies, and their mean lengths in tokens")
    for split in Split:
        counts = (str(model.replies.get(split, 0)) for model in models.values())
        table.add_row(SPLITS[split], *counts)
    table.add_row("cut off by the limit", *(str(model.cut) for model in models.values()))
    for section in Section:
        lengths = (
            f"{model.tokens[section]:.0f}" if section in model.tokens else "-" for model in models.values()
        )
        table.add_row(f"tokens, {section}", *lengths)
    return table


def _numbers(title: str, models: Mapping[str, Mapping[Section, Mapping[Metric, Estimate]]]) -> Table:
    """Means over replies with 95 % bootstrap intervals; a dash where nothing could be measured."""
    present = {metric for found in models.values() for metrics in found.values() for metric in metrics}
    table = Table("", "section", *models, title=f"{title}; 95 % intervals over replies")
    for metric in (metric for metric in Metric if metric in present):
        for section in Section:
            cells = (_spelled(metric, found.get(section, {}).get(metric)) for found in models.values())
            table.add_row(HEADINGS[metric] if section is Section.ALL else "", section, *cells)
        table.add_section()
    return table


def _spelled(metric: Metric, one: Estimate | None) -> str:
    if one is None:
        return "-"
    scale, digits = (100, 2) if metric in _SHARES else (1, 3)
    found = (
        f"{scale * number:.{digits}f}" for number in (one.value, one.low, one.high) if number is not None
    )
    value, *ends = found
    return f"{value} [{', '.join(ends)}]" if ends else value
