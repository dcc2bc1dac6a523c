"""Who is compared: rows of the tables, in their order."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from serve.engine.launch import free_port
from tests.serve.bench.machine import cores, on_core
from tests.serve.bench.ours import ours
from tests.serve.bench.peers import LITELLM, LITELLM_GUARDED, ROUTER, litellm, pass_through, vllm_router
from tests.serve.bench.starting import CouldNotRun, Site, Start, Target
from tests.serve.gateways import eventually
from tests.serve.programs import ROOT, listens

DIRECT: Final = "direct"
PASS_THROUGH: Final = "FastAPI + aiohttp"
OURS: Final = "ours, everything on"
STARTS: Final[Mapping[str, Start]] = MappingProxyType({
    PASS_THROUGH: pass_through,
    ROUTER: vllm_router,
    LITELLM: litellm(LITELLM, guarded=False),
    LITELLM_GUARDED: litellm(LITELLM_GUARDED, guarded=True),
    OURS: ours(OURS),
    "ours, observe": ours("ours, observe", mode="observe"),
    "ours, endpoint guard": ours("ours, endpoint guard", endpoint=True),
    "ours, 2 workers": ours("ours, 2 workers", workers=2),
})  # fmt: skip
BLOCKS: Final = frozenset({LITELLM_GUARDED, OURS, "ours, endpoint guard", "ours, 2 workers"})
"""Those that say they let nothing forbidden through."""


@dataclass(frozen=True)
class Field:
    """All that run."""

    targets: tuple[Target, ...]
    """The engine itself first."""
    missing: Mapping[str, str]
    """By name: why it could not be run."""
    engine_pid: int


@contextmanager
def running(directory: Path) -> Iterator[Field]:
    """All of them at once, until the context is left; idle ones cost nothing that matters.

    Whoever asks shares the engine's core meanwhile: targets have the other one to themselves.
    """
    measured, other = cores()
    port = free_port()
    with ExitStack() as stack:
        stack.enter_context(on_core(other))
        engine = stack.enter_context(_engine(port))
        targets = [Target(DIRECT, port, None)]
        missing: dict[str, str] = {}
        for name, start in STARTS.items():
            try:
                targets.append(stack.enter_context(start(Site(port, measured, directory))))
            except CouldNotRun as why:
                missing[name] = str(why)
        yield Field(tuple(targets), missing, engine)


@contextmanager
def _engine(port: int) -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-m", "tests.serve.bench.engine", str(port)], cwd=ROOT)
    try:
        eventually(lambda: process.poll() is not None or listens(f"http://127.0.0.1:{port}"))
        assert process.poll() is None, "the scripted engine did not start"
        yield process.pid
    finally:
        process.terminate()
        process.wait()
