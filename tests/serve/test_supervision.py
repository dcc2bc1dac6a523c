"""Claims about the embedded engine: a scripted process takes vLLM's place, everything else is real."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest

from policies.bundle import BaseModelIdentity, model_config_digest
from serve.engine.launch import core_ranges, launch_vllm
from serve.options.engine import EmbeddedSettings
from tests.serve.gateways import PATIENCE_S, ask, eventually, write_bundle
from tests.serve.programs import ROOT, Program, is_alive, listens, running_program

# What `python -m serve` runs, with another program in vLLM's place.
PROGRAM = """
import json
import os
import sys
from pathlib import Path
from serve.__main__ import main
from serve.engine.launch import Launch, free_port
more = Path(sys.argv[1]).with_name("more_arguments.json")
def launch():
    port = free_port()
    command = [part.replace("PORT", str(port)) for part in sys.argv[2:]]
    command += json.loads(more.read_text()) if more.exists() else []
    return Launch(tuple(command), dict(os.environ), f"http://127.0.0.1:{port}")
raise SystemExit(main(["--config", sys.argv[1]], launch))
"""
SCRIPTED = (sys.executable, str(ROOT / "tests/fakes/scripted_engine.py"), "PORT")


Run = Callable[..., AbstractContextManager[Program]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the gateway with a command in vLLM's place."""
    model = tmp_path / "base"
    model.mkdir()
    (model / "config.json").write_text("{}")
    identity = BaseModelIdentity(id="mini", architecture="x", config_digest=model_config_digest(model))
    write_bundle(tmp_path / "pst", base=identity)

    def run(*command: str, port: int = 0, **embedded: Any) -> AbstractContextManager[Program]:
        config = tmp_path / "gateway.toml"
        values = {"model": str(model), "log": str(tmp_path / "engine.log")} | embedded
        lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        lines += ["[[adapters]]", f"bundle = {json.dumps(str(tmp_path / 'pst'))}"]
        config.write_text("\n".join([f"port = {port}", "[engine.embedded]", *lines]))
        log_path = tmp_path / f"gateway-{time.monotonic_ns()}.log"
        return running_program(["-c", PROGRAM, str(config), *command], log_path)

    return run


def make_healthy(program: Program) -> None:
    """An engine that was started as unhealthy."""
    eventually(lambda: listens(program.engine_url))
    httpx.post(f"{program.engine_url}/healthy", timeout=PATIENCE_S)


def test_gateway_starts_its_engine_and_stops_it_on_sigterm(run: Run) -> None:
    with run(*SCRIPTED, "unhealthy") as program:
        assert program.gateway.get("/healthz").status_code == 200
        assert program.gateway.get("/readyz").status_code == 503
        make_healthy(program)
        program.wait_ready()
        assert program.gateway.post(ask()).status_code == 200
        pid = program.engine_pid
        program.process.send_signal(signal.SIGTERM)
        assert program.process.wait(PATIENCE_S) == 0
        assert not is_alive(pid)


def test_engine_ends_even_when_the_gateway_is_killed(run: Run) -> None:
    with run(*SCRIPTED) as program:
        program.wait_ready()
        pid = program.engine_pid
        program.process.kill()
        eventually(lambda: not is_alive(pid))


def test_engine_killed_while_answering_is_an_error_event_then_everything_is_back(
    run: Run, tmp_path: Path
) -> None:
    with run(*SCRIPTED) as program:
        program.wait_ready()
        first = program.engine_pid
        (tmp_path / "more_arguments.json").write_text('["unhealthy"]')
        httpx.post(f"{program.engine_url}/script", json={"stalls_after": 14})
        url = f"{program.url}/v1/chat/completions"
        with httpx.stream("POST", url, json=ask(stream=True), timeout=PATIENCE_S) as response:
            lines = response.iter_lines()
            next(lines)
            os.kill(first, signal.SIGKILL)
            rest = [line.removeprefix("data: ") for line in lines if line]
        assert json.loads(rest[-1])["error"]["code"] == "engine_failed"
        eventually(lambda: program.gateway.get("/readyz").status_code == 503)
        assert program.gateway.post(ask()).status_code == 503
        eventually(lambda: len(program.log("engine_starting")) == 2)
        make_healthy(program)
        program.wait_restarted(first)
        assert program.gateway.post(ask()).status_code == 200
        assert program.gateway.metric("groundrule_engine_restarts_total") == 1


def test_engine_comes_back_though_its_log_is_gone(run: Run, tmp_path: Path) -> None:
    with run(*SCRIPTED) as program:
        program.wait_ready()
        first = program.engine_pid
        (tmp_path / "engine.log").unlink()
        os.kill(first, signal.SIGKILL)
        program.wait_restarted(first)
        assert "cannot be read" in program.log("engine_died")[0]["last_lines"]


def test_restart_that_the_system_refuses_is_tried_again(run: Run, tmp_path: Path) -> None:
    more = tmp_path / "more_arguments.json"
    with run(*SCRIPTED) as program:
        program.wait_ready()
        first = program.engine_pid
        more.write_text(json.dumps(["x" * 200_000]))  # E2BIG
        os.kill(first, signal.SIGKILL)
        eventually(lambda: program.log("engine_start_failed"))
        assert "Argument list too long" in program.log("engine_start_failed")[0]["error"]
        assert program.gateway.get("/healthz").status_code == 200
        more.unlink()
        program.wait_restarted(first)
        assert program.gateway.post(ask()).status_code == 200


def test_end_of_supervision_that_nobody_foresaw_ends_the_gateway_and_is_told(
    run: Run, tmp_path: Path
) -> None:
    with run(*SCRIPTED) as program:
        program.wait_ready()
        (tmp_path / "more_arguments.json").write_text(json.dumps(["\ud800"]))  # no system's encoding has it
        os.kill(program.engine_pid, signal.SIGKILL)
        assert program.process.wait(PATIENCE_S) == 1
        assert "UnicodeEncodeError" in program.log("supervision_failed")[0]["traceback"]
        assert "UnicodeEncodeError" in program.log_path.read_text().splitlines()[-1]


def test_reply_under_way_is_finished_before_the_gateway_stops(run: Run) -> None:
    with run(*SCRIPTED) as program:
        program.wait_ready()
        pieces = ["<think>\n", *["[visual] x\n"] * 20, "</think> y"]
        httpx.post(f"{program.engine_url}/script", json={"pieces": pieces, "pause_s": 0.03})
        url = f"{program.url}/v1/chat/completions"
        with httpx.stream("POST", url, json=ask(stream=True), timeout=PATIENCE_S) as response:
            lines = response.iter_lines()
            next(lines)
            program.process.send_signal(signal.SIGTERM)
            rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        assert program.process.wait(PATIENCE_S) == 0


def test_engine_that_cannot_start_ends_the_gateway_with_its_last_words(run: Run) -> None:
    with run(sys.executable, "-c", "raise SystemExit('no such model: x')") as program:
        assert program.process.wait(PATIENCE_S) == 1
        assert "no such model: x" in program.log_path.read_text().splitlines()[-1]


def test_engine_that_never_gets_healthy_ends_the_gateway(run: Run) -> None:
    with run(*SCRIPTED, "unhealthy", start_timeout_s=1) as program:
        assert program.process.wait(PATIENCE_S) == 1
        assert "not healthy after 1 s" in program.log_path.read_text()


def test_taken_port_is_one_line_and_exit_2_before_any_engine_starts(run: Run, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with run(*SCRIPTED, port=port) as program:
            assert program.process.wait(PATIENCE_S) == 2
            said = program.log_path.read_text()
    assert said == f"groundrule: cannot listen on 127.0.0.1:{port}: the port is taken; set GROUNDRULE_PORT\n"
    assert not (tmp_path / "engine.log").exists()


def test_two_gateways_live_side_by_side(run: Run) -> None:
    with run(*SCRIPTED) as one, run(*SCRIPTED) as two:
        one.wait_ready()
        two.wait_ready()
        assert one.engine_url != two.engine_url
        assert [p.gateway.post(ask()).status_code for p in (one, two)] == [200, 200]


def test_wrong_settings_are_exit_2(tmp_path: Path) -> None:
    config = tmp_path / "x.toml"
    config.write_text("prot = 1\n")
    command = [sys.executable, "-m", "serve", "--config", str(config)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert ended.returncode == 2
    assert "prot: unknown setting" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_vllm_is_started_as_measured_best_on_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROUNDRULE_API_KEYS", "secret")
    settings = EmbeddedSettings(model=str(tmp_path), device="cpu", kv_cache_gib=3)
    launch = launch_vllm(settings, images_per_request=2)
    line = " ".join(launch.argv)
    assert launch.argv[:3] == (sys.executable, "-m", "vllm.entrypoints.openai.api_server")
    for part in (
        f"--model {tmp_path}",
        "--host 127.0.0.1",
        "--dtype float32",
        "--enable-lora",
        "--max-lora-rank 16",
        "--enforce-eager",
        '--limit-mm-per-prompt {"image": 2, "video": 0}',
        f"--port {launch.url.rsplit(':', 1)[1]}",
    ):
        assert part in line
    assert launch.environment["VLLM_CPU_KVCACHE_SPACE"] == "3"
    assert launch.environment["VLLM_CPU_OMP_THREADS_BIND"] == core_ranges(os.sched_getaffinity(0))
    assert launch.environment["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "True"
    assert launch.environment["HF_HUB_OFFLINE"] == "1"
    assert "GROUNDRULE_API_KEYS" not in launch.environment


@pytest.mark.parametrize(
    ("device", "eager", "compiles"), [("cpu", None, False), ("cpu", False, True), ("cuda", True, True)]
)
def test_only_an_eager_cpu_engine_is_kept_from_compiling(
    device: Literal["cpu", "cuda"], eager: bool | None, compiles: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TORCH_COMPILE_DISABLE", raising=False)
    settings = EmbeddedSettings(model="org/model", device=device, enforce_eager=eager)
    environment = launch_vllm(settings, images_per_request=1).environment
    assert ("TORCH_COMPILE_DISABLE" not in environment) == compiles


def test_model_from_a_hub_may_be_downloaded() -> None:
    launch = launch_vllm(EmbeddedSettings(model="org/model", device="cuda"), images_per_request=1)
    assert "HF_HUB_OFFLINE" not in launch.environment or "HF_HUB_OFFLINE" in os.environ
    assert "--enforce-eager" not in launch.argv
    assert "--dtype auto" in " ".join(launch.argv)


@pytest.mark.parametrize("wanted", [False, True])
def test_an_engine_that_is_to_load_tower_adapters_is_started_so(wanted: bool) -> None:
    settings = EmbeddedSettings(model="org/model", device="cpu", tower_lora=wanted)
    argv = launch_vllm(settings, images_per_request=1).argv
    assert ("--enable-tower-connector-lora" in argv) == wanted


@pytest.mark.parametrize(
    ("cores", "written"), [({0}, "0"), ({0, 1}, "0-1"), ({0, 1, 2, 5}, "0-2,5"), ({1, 3}, "1,3")]
)
def test_cores_are_written_as_ranges(cores: set[int], written: str) -> None:
    assert core_ranges(cores) == written
