"""Nobody but the gateway reaches the engine: a key that both have, and networks that nothing else is on."""

import ast
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fakes.scripted_engine import KEYED_PATHS, ScriptedEngine
from tests.serve.gateways import ask, running_gateway, settings_for, write_bundle

ROOT = Path(__file__).parents[2]
KEY = "a-key-that-the-engine-asks-for"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]


def networks_of(service: str) -> set[str]:
    return set(SERVICES[service].get("networks", ["default"]))


def test_compose_gives_engine_and_gateway_one_key_and_demands_it() -> None:
    told = SERVICES["engine"]["environment"]["VLLM_API_KEY"]
    assert told.startswith("${ENGINE_API_KEY:?")
    assert SERVICES["gateway"]["environment"]["GROUNDRULE_ENGINE__REMOTE__API_KEY"] == told


def test_compose_lets_nobody_but_the_gateway_reach_the_engine() -> None:
    assert "ports" not in SERVICES["engine"]
    for other in SERVICES.keys() - {"engine", "gateway"}:
        assert not networks_of(other) & networks_of("engine"), other
    [shared] = networks_of("gateway") & networks_of("engine")
    assert COMPOSE["networks"][shared]["internal"] is True
    # The gateway itself stays within reach of its callers, and of Prometheus.
    assert networks_of("gateway") & networks_of("prometheus")


def kubernetes(kind: str) -> dict[str, Any]:
    documents = yaml.safe_load_all((ROOT / "deploy/kubernetes.yaml").read_text())
    return {it["metadata"]["name"]: it["spec"] for it in documents if it["kind"] == kind}


def test_kubernetes_gives_engine_and_gateway_one_key() -> None:
    pods = kubernetes("StatefulSet")
    secrets = [
        variable["valueFrom"]["secretKeyRef"]
        for name, variable_name in (
            ("vllm", "VLLM_API_KEY"),
            ("groundrule-gateway", "GROUNDRULE_ENGINE__REMOTE__API_KEY"),
        )
        for variable in pods[name]["template"]["spec"]["containers"][0]["env"]
        if variable["name"] == variable_name
    ]
    assert secrets == [{"name": "groundrule-engine", "key": "api-key"}] * 2


def test_kubernetes_lets_nobody_but_the_gateway_reach_the_engine() -> None:
    pods = kubernetes("StatefulSet")
    policy = kubernetes("NetworkPolicy")["vllm"]
    assert policy["podSelector"]["matchLabels"] == pods["vllm"]["template"]["metadata"]["labels"]
    assert policy["policyTypes"] == ["Ingress"]
    [rule] = policy["ingress"]
    assert rule["from"] == [{"podSelector": pods["groundrule-gateway"]["selector"]}]
    [port] = rule["ports"]
    assert port["port"] in {
        port["name"] for port in pods["vllm"]["template"]["spec"]["containers"][0]["ports"]
    }


def test_a_gateway_with_the_engines_key_loads_adapters_probes_and_answers(tmp_path: Path) -> None:
    write_bundle(tmp_path / "pst")
    with ScriptedEngine().running() as engine:
        engine.key = KEY
        remote = {"url": engine.url, "poll_interval_s": 0.05, "api_key": KEY}
        settings = settings_for(engine, tmp_path / "pst", engine={"remote": remote})
        with running_gateway(settings, engine) as gateway:
            assert len(engine.adapters) == 1
            assert gateway.post(ask()).status_code == 200


def test_a_gateway_without_the_engines_key_is_never_ready(tmp_path: Path) -> None:
    write_bundle(tmp_path / "pst")
    with ScriptedEngine().running() as engine:
        engine.key = KEY
        with running_gateway(settings_for(engine, tmp_path / "pst"), engine, ready=False) as gateway:
            assert gateway.post(ask()).status_code == 503
        assert not engine.adapters


def test_the_engines_key_covers_the_paths_that_are_told_and_no_others() -> None:
    # Read, not imported: vLLM takes half a minute to import.
    spec = find_spec("vllm")
    if spec is None or spec.origin is None:
        pytest.skip("vLLM is not installed")
    source = (Path(spec.origin).parent / "entrypoints/serve/middleware/authenticate.py").read_text()
    [prefixes] = re.findall(r"^GUARDED_PREFIX = (\(.*\))$", source, re.MULTILINE)
    assert ast.literal_eval(prefixes) == KEYED_PATHS
    guide = (ROOT / "docs/serving.md").read_text()
    [told] = re.findall(r"asks for it only below\s+([^.]+)\.", guide)
    assert tuple(re.findall(r"`(/\w+)`", told)) == KEYED_PATHS
