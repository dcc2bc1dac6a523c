"""Gateways as processes of their own, started as an operator would start them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.fakes.scripted_engine import ScriptedEngine
from tests.serve.gateways import PATIENCE_S, Gateway, eventually

ROOT = Path(__file__).parents[2]


@dataclass
class Program:
    """A gateway process and what it logged."""

    process: subprocess.Popen[str]
    log_path: Path
    url: str = ""

    def log(self, event: str) -> list[dict[str, Any]]:
        """Its log lines of that event."""
        lines = [line for line in self.log_path.read_text().splitlines() if line.startswith("{")]
        return [line for line in map(json.loads, lines) if line["event"] == event]

    @property
    def gateway(self) -> Gateway:
        """How to call it; its engine is out of reach, so there is no script."""
        return Gateway(self.url, ScriptedEngine())

    @property
    def engine_pid(self) -> int:
        """The engine's server process; also the id of its process group."""
        pid: int = self.log("engine_ready")[-1]["pid"]
        return pid

    @property
    def engine_url(self) -> str:
        """Where the engine listens now, or will."""
        url: str = self.log("engine_starting")[-1]["url"]
        return url

    def wait_ready(self, timeout_s: float = PATIENCE_S) -> None:
        """Until /readyz says so; fails at once if the process has ended."""

        def ready() -> bool:
            assert self.process.poll() is None, self.log_path.read_text()
            return self.gateway.get("/readyz").status_code == 200

        eventually(ready, timeout_s)

    def wait_restarted(self, first_pid: int, timeout_s: float = PATIENCE_S) -> None:
        """Until another engine than that one is ready."""
        eventually(lambda: self.engine_pid != first_pid, timeout_s)
        self.wait_ready(timeout_s)


@contextmanager
def running_program(arguments: Sequence[str], log_path: Path) -> Iterator[Program]:
    """Run `python <arguments>` until the context is left; returns once it listens or has ended."""
    with log_path.open("w") as log:
        process = subprocess.Popen([sys.executable, *arguments], stderr=log, cwd=ROOT, text=True)
    program = Program(process, log_path)
    try:
        eventually(lambda: program.log("listening") or process.poll() is not None)
        if listening := program.log("listening"):
            program.url = listening[0]["url"]
        yield program
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def is_alive(pid: int) -> bool:
    """Whether that process runs; a zombie that nobody has waited for yet is dead as well."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def listens(url: str) -> bool:
    """Whether a server answers there, whatever it says."""
    try:
        return bool(httpx.get(f"{url}/health", timeout=PATIENCE_S).status_code)
    except httpx.TransportError:
        return False
