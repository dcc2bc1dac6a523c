"""The dashboard asks for what the gateway counts, shows no 0 where there is nothing, and Grafana finds it."""

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.promql import left, unknown

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana/groundrule.json").read_text())
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]
GRAFANA: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["grafana"]


@pytest.fixture(params=PANELS, ids=lambda panel: panel["title"])
def panel(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = request.param
    return found


def is_honest(expression: str) -> bool:
    """Nothing is divided but by what is more than nothing, and no missing sum is made 0."""
    divisors = re.findall(r" / (?:on \(\) group_left \(\) )?(.*)", expression)
    return not re.search(r"\bvector\(", expression) and all(
        re.fullmatch(r"\(sum[^/]* > 0\)", divisor) for divisor in divisors
    )


def test_every_panel_asks_for_series_and_values_that_there_are(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        assert "groundrule_" in target["expr"]
        assert not unknown(target["expr"])


def test_every_legend_names_labels_that_the_result_has(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= left(target["expr"])
    # Two lines of one name could not be told apart.
    assert len({target["legendFormat"] for target in panel["targets"]}) == len(panel["targets"])


def test_where_nothing_was_answered_no_rate_is_shown() -> None:
    assert any(" / " in expression for expression in EXPRESSIONS)
    assert [expression for expression in EXPRESSIONS if not is_honest(expression)] == []


def test_a_rate_that_would_be_0_of_nothing_is_found() -> None:
    assert not is_honest("sum(rate(a[5m])) / sum(rate(b[5m]))")
    assert not is_honest("sum(rate(a[5m])) or vector(0)")
    assert is_honest("sum(rate(a[5m])) / (sum(rate(b[5m])) > 0)")


def test_counters_are_shown_as_rates() -> None:
    for expression in EXPRESSIONS:
        for name in re.findall(r"\w+(?:_total|_bucket)\b", expression):
            assert re.search(rf"\b(?:rate|increase)\({name}", expression), expression


def test_no_two_panels_lie_over_each_other() -> None:
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    for one, other in combinations([panel["gridPos"] for panel in DASHBOARD["panels"]], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below


def test_the_rows_are_those_of_the_guide() -> None:
    guide = (DEPLOY.parent / "docs/serving.md").read_text()
    told = guide.split("\n## Dashboard\n", 1)[1].split(" in Grafana.", 1)[0]
    titles = [panel["title"].lower() for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert f"shows {', '.join(titles[:-1])} and {titles[-1]}" in told


def test_every_panel_reads_from_the_prometheus_that_scrapes_the_gateway(panel: dict[str, Any]) -> None:
    [source] = yaml.safe_load((DEPLOY / "grafana/datasource.yaml").read_text())["datasources"]
    scraping = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["global"]["scrape_interval"]
    asked = {"type": source["type"], "uid": source["uid"]}
    assert [panel["datasource"], *(target["datasource"] for target in panel["targets"])].count(
        asked
    ) == 1 + len(panel["targets"])
    assert source["url"] == "http://prometheus:9090"
    assert source["jsonData"]["timeInterval"] == scraping


def test_grafana_finds_the_dashboard_and_where_to_read() -> None:
    mounts = {target: source for source, target, _ in (volume.split(":") for volume in GRAFANA["volumes"])}
    for source in mounts.values():
        assert (DEPLOY / source).is_file()
    provisioned = {target.rsplit("/", 2)[1] for target in mounts if "/provisioning/" in target}
    assert provisioned == {"datasources", "dashboards"}
    [provider] = yaml.safe_load((DEPLOY / "grafana/dashboards.yaml").read_text())["providers"]
    assert mounts[f"{provider['options']['path']}/groundrule.json"] == "./grafana/groundrule.json"


def test_grafana_lets_in_nobody_without_the_password_and_is_this_machines_alone() -> None:
    told = GRAFANA["environment"]
    assert told["GF_SECURITY_ADMIN_PASSWORD"].startswith("${GRAFANA_PASSWORD:?")
    assert (told["GF_AUTH_ANONYMOUS_ENABLED"], told["GF_USERS_ALLOW_SIGN_UP"]) == ("false", "false")
    assert all(port.startswith("127.0.0.1:") for port in GRAFANA["ports"])
    assert re.fullmatch(r"grafana/grafana:\d+\.\d+\.\d+", GRAFANA["image"])
