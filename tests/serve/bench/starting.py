"""A gateway of whichever kind, started as a process and asked until it answers. Knows none of them."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from serve.engine.launch import free_port
from tests.serve.bench.machine import on_core
from tests.serve.bench.script import KEY, ask
from tests.serve.programs import ROOT

_START_S = 300.0
"""LiteLLM takes 12 s of CPU, and minutes where others have most of it."""
_STOP_S = 15.0


class CouldNotRun(Exception):
    """Why a target has no numbers."""


@dataclass(frozen=True)
class Target:
    """Something that answers chat requests."""

    name: str
    port: int
    pid: int | None
    """None: the engine itself, whose CPU is nobody's overhead."""


@dataclass(frozen=True)
class Site:
    """Where targets are started."""

    engine_port: int
    core: int
    directory: Path

    @property
    def engine_url(self) -> str:
        return f"http://127.0.0.1:{self.engine_port}"


Start = Callable[[Site], AbstractContextManager[Target]]


@contextmanager
def program(
    name: str,
    site: Site,
    command: Callable[[int], Sequence[str]],
    variables: Mapping[str, str] | None = None,
) -> Iterator[Target]:
    """`command` of a free port, on the site's core, until the context is left. Raises CouldNotRun."""
    port = free_port()
    log_path = site.directory / (name.replace(" ", "-").replace(",", "") + ".log")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LOG_LEVEL": "ERROR", **(variables or {})}
    with on_core(site.core), log_path.open("w") as log:
        process = subprocess.Popen(
            command(port), stdout=log, stderr=subprocess.STDOUT, cwd=ROOT, env=environment
        )
    try:
        _wait_until_it_answers(name, process, port, log_path)
        yield Target(name, port, process.pid)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_it_answers(name: str, process: subprocess.Popen[bytes], port: int, log_path: Path) -> None:
    deadline = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if said(port, stream=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    tail = log_path.read_text(errors="replace").strip().splitlines()[-3:]
    raise CouldNotRun(f"{name} did not come to answer: {' / '.join(tail)[-400:]}")


def said(port: int, *, stream: bool, how: str = "") -> httpx.Response:
    """One request, as an ordinary caller."""
    return httpx.post(
        f"http://127.0.0.1:{port}/v1/chat/completions",
        json=ask(stream=stream, how=how),
        headers={"authorization": f"Bearer {KEY}"},
        timeout=60,
        trust_env=False,
    )
