"""What an expression in PromQL names, against the series that the gateway has."""

import re
from functools import cache
from pathlib import Path
from typing import get_args, get_type_hints

import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from serve.errors import every_code
from serve.ledger.interaction import GuardRun
from serve.observe.metrics import Metrics

ROOT = Path(__file__).parents[2]
SCRAPED = {"instance", "job"}
"""Labels that Prometheus adds."""
_RECORDS = (ROOT / "serve/api/records.py").read_text()
_CLOSED = {
    ("groundrule_guard_rulings_total", "status"): set(get_args(get_type_hints(GuardRun)["status"])),
    ("groundrule_requests_total", "outcome"): {"ok", "aborted", *every_code()},
    ("groundrule_tokens_total", "kind"): set(re.findall(r'metrics\.tokens, alias, "(\w+)"', _RECORDS)),
}
"""Values of labels whose series do not start at zero."""


@cache
def series() -> dict[str, dict[str, set[str]]]:
    """Every series of the gateway: its labels, and the values that they have from the start."""
    registry = CollectorRegistry()
    metrics = [it for it in vars(Metrics(registry)).values() if isinstance(it, MetricWrapperBase)]
    for metric in metrics:
        if metric._labelnames:
            metric.labels(*metric._labelnames)
    found: dict[str, dict[str, set[str]]] = {}
    for family in registry.collect():
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                # A value that is its label's name was made here.
                labels.setdefault(label, set()).update({value} - {label})
    return found


def jobs() -> set[str]:
    told = yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text())
    return {job["job_name"] for job in told["scrape_configs"]}


def selectors(expression: str) -> list[tuple[str, str]]:
    """Metrics, each with what stands in its braces."""
    return re.findall(r"\b(up|groundrule_\w+)\b(?:\{([^}]*)\})?", expression)


def unknown(expression: str) -> list[str]:
    """What the expression names and the gateway does not have."""
    wrong = []
    for metric, matchers in selectors(expression):
        labels = {"job": jobs()} if metric == "up" else series().get(metric)
        if labels is None:
            wrong.append(metric)
            continue
        for label, values in re.findall(r'(\w+)(?:=~|!~|!=|=)"([^"]*)"', matchers):
            known = labels.get(label, set()) | _CLOSED.get((metric, label), set())
            wrong += [f"{metric}{{{label}={it}}}" for it in values.split("|") if it not in known]
    return wrong + sorted(grouped(expression) - known_labels(expression))


def grouped(expression: str) -> set[str]:
    """Labels by which something is added up."""
    groups = re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", expression)
    return {label.strip() for group in groups for label in group.split(",") if label.strip()}


def known_labels(expression: str) -> set[str]:
    """All that a result may have."""
    return SCRAPED.union(*(series().get(metric, {}) for metric, _ in selectors(expression)))


def left(expression: str) -> set[str]:
    """Labels that the result has: those it is grouped by, or all where nothing is added up."""
    return (
        grouped(expression) if re.search(r"\b(?:sum|max|min|avg)\b", expression) else known_labels(expression)
    )
