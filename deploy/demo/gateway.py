"""The gateway of one demo, as a process of its own that never outlives it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from deploy.demo.logs import last_line, tail
from deploy.demo.plan import ROOT, DemoFailed, Plan
from deploy.demo.progress import Step

FIRST_PORT = 8000
LAST_PORT = 8099
_POLL_S = 0.5
_DRAIN_S = 5
_LINES_SHOWN = 25
# What the gateway says once the port is its own, and when somebody else has it. Two demos that start
# together both find the port free, so only the gateway knows.
_LISTENING = '"event": "listening"'
_PORT_TAKEN = "the port is taken"
# The gateway is on this machine, whatever proxy the environment names.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Gateway:
    """A started gateway; ready only after `wait_until_ready`."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, directory: Path) -> None:
        self.root_url = f"http://127.0.0.1:{port}"
        self._process = process
        self._log = log_path(directory)
        self._engine_log = engine_log_path(directory)

    @property
    def base_url(self) -> str:
        """What an OpenAI client is given."""
        return f"{self.root_url}/v1"

    def wait_until_ready(self, step: Step) -> None:
        """Wait for engine and adapter; raises DemoFailed with the end of their logs."""
        while not self._is_ready():
            if self._process.poll() is not None:
                raise self.failure("the gateway ended before it was ready")
            step.note(last_line(self._engine_log))
            time.sleep(_POLL_S)

    def wait(self) -> None:
        """Stay until the gateway ends, which it should not do by itself."""
        self._process.wait()
        raise self.failure("the gateway ended")

    def failure(self, what: str) -> DemoFailed:
        """An error with what the logs say last."""
        logs = [log for log in (self._engine_log, self._log) if log.is_file()]
        shown = "\n".join(f"--- {log.name} ---\n{tail(log, _LINES_SHOWN)}" for log in logs)
        code = self._process.poll()
        ended = "" if code is None else f" (exit code {code})"
        return DemoFailed(f"{what}{ended}\n{shown}")

    def _is_ready(self) -> bool:
        try:
            with _DIRECT.open(f"{self.root_url}/readyz", timeout=5) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False


@contextmanager
def running_gateway(plan: Plan, directory: Path, command: Sequence[str] = ()) -> Iterator[Gateway]:
    """A gateway on the first free port from FIRST_PORT on, ended when the context is left."""
    for port in range(FIRST_PORT, LAST_PORT + 1):
        if not _is_free(port):
            continue
        process = _start(plan, port, directory, command or (sys.executable, "-m", "serve"))
        try:
            if _has_port(process, directory, port):
                yield Gateway(process, port, directory)
                return
        finally:
            _stop(process)
    raise DemoFailed(f"no port from {FIRST_PORT} to {LAST_PORT} is free: stop another demo first")


def log_path(directory: Path) -> Path:
    return directory / "gateway.log"


def engine_log_path(directory: Path) -> Path:
    return directory / "engine.log"


def configuration(plan: Plan, port: int, directory: Path) -> str:
    """The demo's gateway.toml."""
    # JSON's strings and numbers are TOML's too.
    lines = [
        'host = "127.0.0.1"',
        f"port = {port}",
        f"drain_timeout_s = {_DRAIN_S}",
        # Audited like any other, and gone with its logs; what lies in the working directory, keys above all,
        # is another gateway's.
        f"state_dir = {json.dumps(str(directory / 'state'))}",
        "[engine.embedded]",
        f"model = {json.dumps(plan.model)}",
        f"device = {json.dumps('cpu' if plan.is_lab else 'cuda')}",
        f"max_model_len = {plan.max_model_len}",
        f"log = {json.dumps(str(engine_log_path(directory)))}",
        # A real model is downloaded on its first start.
        f"start_timeout_s = {900 if plan.is_lab else 7200}",
    ]
    if plan.adapter:
        lines += ["[[adapters]]", f"bundle = {json.dumps(str(plan.adapter))}"]
    return "\n".join([*lines, ""])


def _start(plan: Plan, port: int, directory: Path, command: Sequence[str]) -> subprocess.Popen[bytes]:
    config = directory / "gateway.toml"
    config.write_text(configuration(plan, port, directory), encoding="utf-8")
    # Settings and keys of another gateway are none of this one's business.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GROUNDRULE_")}
    leash = (sys.executable, "-m", "serve.engine.leash", str(os.getpid()))
    with log_path(directory).open("wb") as log:
        return subprocess.Popen(
            [*leash, *command, "--config", str(config)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # Ctrl-C reaches the demo alone, which then ends the gateway in good order.
            start_new_session=True,
        )


def _has_port(process: subprocess.Popen[bytes], directory: Path, port: int) -> bool:
    """Whether the gateway listens; False when somebody else was faster."""
    while process.poll() is None:
        if _LISTENING in tail(log_path(directory), _LINES_SHOWN):
            return True
        time.sleep(_POLL_S / 5)
    if _PORT_TAKEN in tail(log_path(directory), _LINES_SHOWN):
        return False
    raise Gateway(process, port, directory).failure("the gateway did not start")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End gateway and engine: politely, then for certain."""
    if process.poll() is not None:
        return
    # A second Ctrl-C must not leave an engine behind; this ends soon enough by itself.
    interrupted = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process.send_signal(signal.SIGTERM)
        process.wait(_DRAIN_S + 30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    finally:
        signal.signal(signal.SIGINT, interrupted)
