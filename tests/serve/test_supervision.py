"""Claims about the embedded engine: a scripted process takes vLLM's place, everything else is real."""

import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest

from policies.bundle import BaseModelIdentity, model_config_digest
from serve.__main__ import main
from serve.engine.launch import Launch, core_ranges, free_port, launch_vllm
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


def prepare(directory: Path, port: int = 0, **embedded: Any) -> Path:
    """The configuration of a gateway with an engine of its own, in a directory of its own."""
    model = directory / "base"
    model.mkdir()
    (model / "config.json").write_text("{}")
    identity = BaseModelIdentity(id="mini", architecture="x", config_digest=model_config_digest(model))
    write_bundle(directory / "pst", base=identity)
    values = {"model": str(model), "log": str(directory / "engine.log")} | embedded
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    lines += ["[[adapters]]", f"bundle = {json.dumps(str(directory / 'pst'))}"]
    top = [f"port = {port}", f"state_dir = {json.dumps(str(directory / 'state'))}"]
    config = directory / "gateway.toml"
    config.write_text("\n".join([*top, "[engine.embedded]", *lines]))
    return config


def run(directory: Path, *command: str) -> AbstractContextManager[Program]:
    """Run a gateway with a command in vLLM's place."""
    config = prepare(directory)
    return running_program(["-c", PROGRAM, str(config), *command], directory / "gateway.log")


@dataclass
class Supervised:
    """A gateway that stays while its engines come and go."""

    program: Program
    more_arguments: Path
    """Of its next engines."""


@pytest.fixture(scope="module")
def long_lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervised]:
    directory = tmp_path_factory.mktemp("supervised")
    with run(directory, *SCRIPTED) as program:
        yield Supervised(program, directory / "more_arguments.json")


@pytest.fixture
def supervised(long_lived: Supervised) -> Supervised:
    """With an engine that is ready."""
    long_lived.more_arguments.unlink(missing_ok=True)
    long_lived.program.wait_ready()
    return long_lived


@pytest.fixture
def own_logging() -> Iterator[None]:
    """For a gateway that runs in this process: what it does to the log ends with it."""
    loggers = [logging.root, logging.getLogger("uvicorn"), logging.getLogger("alembic")]
    before = [(logger, logger.handlers, logger.level) for logger in loggers]
    yield
    for logger, handlers, level in before:
        logger.handlers = handlers
        logger.setLevel(level)


def make_healthy(program: Program) -> None:
    """An engine that was started as unhealthy."""
    eventually(lambda: listens(program.engine_url))
    httpx.post(f"{program.engine_url}/healthy", timeout=PATIENCE_S)


def test_gateway_starts_its_engine_and_on_sigterm_finishes_its_reply_and_stops_it(tmp_path: Path) -> None:
    with run(tmp_path, *SCRIPTED, "unhealthy") as program:
        assert program.gateway.get("/healthz").status_code == 200
        assert program.gateway.get("/readyz").status_code == 503
        make_healthy(program)
        program.wait_ready()
        assert program.gateway.post(ask()).status_code == 200
        pid = program.engine_pid
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
        assert not is_alive(pid)


def test_two_gateways_live_side_by_side_and_an_engine_ends_even_when_its_gateway_is_killed(
    supervised: Supervised, tmp_path: Path
) -> None:
    one = supervised.program
    with run(tmp_path, *SCRIPTED) as two:
        two.wait_ready()
        assert one.engine_url != two.engine_url
        assert [p.gateway.post(ask()).status_code for p in (one, two)] == [200, 200]
        pid = two.engine_pid
        two.process.kill()
        eventually(lambda: not is_alive(pid))
    assert is_alive(one.engine_pid)


def test_engine_killed_while_answering_is_an_error_event_then_everything_is_back(
    supervised: Supervised,
) -> None:
    program = supervised.program
    first = program.engine_pid
    starts = len(program.log("engine_starting"))
    restarts = program.gateway.metric("groundrule_engine_restarts_total")
    supervised.more_arguments.write_text('["unhealthy"]')
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
    eventually(lambda: len(program.log("engine_starting")) == starts + 1)
    make_healthy(program)
    program.wait_restarted(first)
    assert program.gateway.post(ask()).status_code == 200
    assert program.gateway.metric("groundrule_engine_restarts_total") == restarts + 1


def test_restart_that_the_system_refuses_is_tried_again_though_the_log_is_gone(
    supervised: Supervised,
) -> None:
    program = supervised.program
    first = program.engine_pid
    supervised.more_arguments.write_text(json.dumps(["x" * 200_000]))  # E2BIG
    supervised.more_arguments.with_name("engine.log").unlink()
    os.kill(first, signal.SIGKILL)
    eventually(lambda: program.log("engine_start_failed"))
    assert "cannot be read" in program.log("engine_died")[-1]["last_lines"]
    assert "Argument list too long" in program.log("engine_start_failed")[-1]["error"]
    assert program.gateway.get("/healthz").status_code == 200
    supervised.more_arguments.unlink()
    program.wait_restarted(first)
    assert program.gateway.post(ask()).status_code == 200


def test_end_of_supervision_that_nobody_foresaw_ends_the_gateway_and_is_told(tmp_path: Path) -> None:
    with run(tmp_path, *SCRIPTED) as program:
        program.wait_ready()
        # No system's encoding has it.
        (tmp_path / "more_arguments.json").write_text(json.dumps(["\ud800"]))
        os.kill(program.engine_pid, signal.SIGKILL)
        assert program.process.wait(PATIENCE_S) == 1
        assert "UnicodeEncodeError" in program.log("supervision_failed")[0]["traceback"]
        assert "UnicodeEncodeError" in program.log_path.read_text().splitlines()[-1]


@pytest.mark.usefixtures("own_logging")
@pytest.mark.parametrize(
    ("command", "last_words"),
    [
        ((sys.executable, "-c", "raise SystemExit('no such model: x')"), "no such model: x"),
        ((sys.executable, "-c", "import time; time.sleep(600)"), "not healthy after 1 s"),
    ],
    ids=["ends", "never gets healthy"],
)
def test_engine_that_does_not_come_up_ends_the_gateway_with_its_last_words(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], command: tuple[str, ...], last_words: str
) -> None:
    config = prepare(tmp_path, start_timeout_s=1 if "healthy" in last_words else 60)

    def launch() -> Launch:
        return Launch(command, dict(os.environ), f"http://127.0.0.1:{free_port()}")

    assert main(["--config", str(config)], launch) == 1
    said = capfd.readouterr().err
    assert last_words in said[said.rindex("groundrule: ") :]


def test_taken_port_is_one_line_and_exit_2_before_any_engine_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["--config", str(prepare(tmp_path, port))]) == 2
    said = capsys.readouterr().err
    assert said == f"groundrule: cannot listen on 127.0.0.1:{port}: the port is taken; set GROUNDRULE_PORT\n"
    assert not (tmp_path / "engine.log").exists()


def test_wrong_settings_are_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "x.toml"
    config.write_text("prot = 1\n")
    assert main(["--config", str(config)]) == 2
    assert "prot: unknown setting" in capsys.readouterr().err


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


def test_model_from_a_hub_may_be_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    launch = launch_vllm(EmbeddedSettings(model="org/model", device="cuda"), images_per_request=1)
    assert "HF_HUB_OFFLINE" not in launch.environment
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
