"""Alert rules watch what the gateway counts, say what to do, and are loaded and listed."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.promql import left, series, unknown

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs/serving.md").read_text()
[GROUP] = yaml.safe_load((ROOT / "deploy/alerts.yml").read_text())["groups"]
RULES: list[dict[str, Any]] = GROUP["rules"]


@pytest.fixture(params=RULES, ids=lambda rule: rule["alert"])
def rule(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = request.param
    return found


def test_every_rule_has_what_prometheus_asks_for_and_nothing_else(rule: dict[str, Any]) -> None:
    assert rule.keys() - {"for"} == {"alert", "expr", "labels", "annotations"}
    assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))
    assert re.fullmatch(r"[A-Za-z]+", rule["alert"])


def test_every_rule_says_how_bad_it_is_what_happened_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"].keys() == {"summary", "description"}


def test_every_rule_watches_series_and_values_that_there_are(rule: dict[str, Any]) -> None:
    assert not unknown(rule["expr"])


def test_what_a_rule_tells_is_in_its_result(rule: dict[str, Any]) -> None:
    told = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
    assert told <= left(rule["expr"])


def test_no_first_event_is_missed(rule: dict[str, Any]) -> None:
    # An increase is seen only where the series was there before: from the start, or as one that is new.
    for metric, matchers in re.findall(r"increase\((\w+)(?:\{([^}]*)\})?\[\d+m\]\) > 0", rule["expr"]):
        [(label, values)] = re.findall(r'(\w+)=~?"([^"]*)"', matchers)
        starts_at_zero = set(values.split("|")) <= series()[metric][label]
        assert starts_at_zero or f"unless {metric}{{{matchers}}} offset" in rule["expr"]


def test_a_name_that_the_gateway_does_not_have_is_found() -> None:
    assert unknown("groundrule_engine_upp == 0") == ["groundrule_engine_upp"]
    assert unknown('groundrule_errors_total{code="nonsense"}') == ["groundrule_errors_total{code=nonsense}"]
    assert unknown("sum by (pool) (groundrule_engine_up)") == ["pool"]
    assert not unknown('sum by (code) (groundrule_errors_total{code=~"overloaded|stopping"})')


def test_no_two_alerts_have_one_name_and_the_guide_lists_them_with_their_severity() -> None:
    section = GUIDE.split("\n## Alerts\n", 1)[1].split("\n## ", 1)[0]
    listed = re.findall(r"^\| `(\w+)` \| (\w+) \|", section, re.MULTILINE)
    assert listed == [(rule["alert"], rule["labels"]["severity"]) for rule in RULES]


def test_each_alert_is_played_by_prometheus_where_it_is_installed(rule: dict[str, Any]) -> None:
    played = Path(__file__).with_name("alerts_played.yml").read_text()
    assert f'alertname="{rule["alert"]}"' in played


def test_prometheus_of_compose_loads_the_rules() -> None:
    prometheus = yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text())
    assert prometheus["rule_files"] == ["alerts.yml"]
    compose = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())
    # Beside its settings, since the name is taken from there.
    assert "./alerts.yml:/etc/prometheus/alerts.yml:ro" in compose["services"]["prometheus"]["volumes"]
