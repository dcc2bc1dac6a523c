"""Prometheus itself: it takes our settings, the alerts wake whom they should, and every panel has its curve.

Only where it is installed (Debian: `apt install prometheus`); it is no Python package. What needs none of it
is in test_alerts.py and test_dashboard.py.
"""

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.fakes.scripted_engine import Scripted, ScriptedEngine
from tests.serve.gateways import (
    ALIAS,
    PATIENCE_S,
    REFUSAL,
    Gateway,
    ask,
    eventually,
    running_gateway,
    settings_for,
    write_bundle,
)

DEPLOY = Path(__file__).parents[2] / "deploy"
PLAYED = Path(__file__).with_name("alerts_played.yml")
PANELS: list[dict[str, Any]] = [
    panel
    for panel in json.loads((DEPLOY / "grafana/groundrule.json").read_text())["panels"]
    if panel["type"] != "row"
]
INTERVAL_S = 1
RATE_INTERVAL = "15s"
ALWAYS_THERE = {
    "Requests by outcome",
    "Requests by alias",
    "Requests that were not let in",
    "Time to first token",
    "Duration of a request",
    "In flight and waiting",
    "Refusal rate by alias",
    "Refusal rate by who refused",
    "Verdicts",
    "Engine",
    "Tokens",
    "Completion tokens by alias",
}
"""Panels that show something wherever requests were answered."""

pytestmark = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")), reason="Prometheus is not installed"
)


def promtool(*arguments: str, cwd: Path) -> str:
    done = subprocess.run(["promtool", *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """A folder with our settings and rules in it."""
    for file in (DEPLOY / "prometheus.yml", DEPLOY / "alerts.yml", PLAYED):
        shutil.copy(file, tmp_path)
    return tmp_path


def test_it_takes_settings_and_rules(beside: Path) -> None:
    rules = yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"][0]["rules"]
    assert f"{len(rules)} rules found" in promtool("check", "config", "prometheus.yml", cwd=beside)


def test_alerts_wake_whom_they_should_and_nobody_else(beside: Path) -> None:
    assert "SUCCESS" in promtool("test", "rules", PLAYED.name, cwd=beside)


class Prometheus:
    """One that runs, and what it says."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, expression: str) -> list[dict[str, Any]]:
        """The instant vector that the expression comes to now."""
        reply = httpx.get(f"{self.url}/api/v1/query", params={"query": expression}, timeout=PATIENCE_S)
        assert reply.status_code == 200, reply.text
        found: list[dict[str, Any]] = reply.json()["data"]["result"]
        return found

    def value(self, expression: str) -> float | None:
        """Of the one series that the expression comes to; None if there is none."""
        found = self.ask(expression)
        assert len(found) <= 1, found
        return float(found[0]["value"][1]) if found else None

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/-/ready", timeout=PATIENCE_S).status_code == 200
        except httpx.TransportError:
            return False


@contextmanager
def running_prometheus(beside: Path, target: str) -> Iterator[Prometheus]:
    """With our settings but for two: whom it asks, and how often."""
    settings = yaml.safe_load((beside / "prometheus.yml").read_text())
    settings["global"] |= {
        "scrape_interval": f"{INTERVAL_S}s",
        "scrape_timeout": f"{INTERVAL_S}s",
        "evaluation_interval": f"{INTERVAL_S}s",
    }
    settings["scrape_configs"][0]["static_configs"][0]["targets"] = [target]
    (beside / "prometheus.yml").write_text(yaml.safe_dump(settings))
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with (beside / "log").open("w") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                "--config.file=prometheus.yml",
                "--storage.tsdb.path=data",
                f"--web.listen-address={address}",
            ],
            cwd=beside,
            stdout=log,
            stderr=log,
        )
    try:
        prometheus = Prometheus(f"http://{address}")
        eventually(lambda: process.poll() is not None or prometheus.is_ready())
        assert process.poll() is None, (beside / "log").read_text()
        yield prometheus
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def answer_four(gateway: Gateway) -> None:
    """One of them with a refusal."""
    gateway.engine.enqueue(Scripted(), Scripted(REFUSAL), Scripted(), Scripted())
    for _ in range(4):
        assert gateway.post(ask()).status_code == 200


@pytest.fixture
def gateway(beside: Path) -> Iterator[Gateway]:
    with ScriptedEngine().running() as engine:
        write_bundle(beside / "bundle")
        with running_gateway(settings_for(engine, beside / "bundle"), engine) as running:
            yield running


def test_panels_show_a_gateways_traffic(beside: Path, gateway: Gateway) -> None:
    with running_prometheus(beside, gateway.url.removeprefix("http://")) as prometheus:
        # What is there at the first look is no increase: of eight requests a rate sees the last four.
        for replies in (4, 8):
            answer_four(gateway)
            eventually(lambda: prometheus.value("sum(groundrule_replies_total)") == replies)  # noqa: B023
        rates: dict[str, list[list[dict[str, Any]]]] = {
            panel["title"]: [
                prometheus.ask(target["expr"].replace("$__rate_interval", RATE_INTERVAL))
                for target in panel["targets"]
            ]
            for panel in PANELS
        }
    empty = {title for title, results in rates.items() if not all(results)}
    assert not empty & ALWAYS_THERE
    [[refused]] = rates["Refusal rate by alias"]
    assert (refused["metric"], float(refused["value"][1])) == ({"alias": ALIAS}, pytest.approx(0.25))


def test_an_engine_that_is_away_is_on_its_way_to_be_told(beside: Path, gateway: Gateway) -> None:
    waiting = 'ALERTS{alertname="GroundruleEngineDown",alertstate="pending"}'
    with running_prometheus(beside, gateway.url.removeprefix("http://")) as prometheus:
        eventually(lambda: prometheus.value("groundrule_engine_up") == 1)
        assert prometheus.value(waiting) is None
        gateway.engine.is_healthy = False
        eventually(lambda: prometheus.value(waiting) == 1)
