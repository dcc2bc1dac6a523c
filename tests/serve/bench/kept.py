"""Numbers of a run, as a file: the bench writes it, the page is made of it."""

import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from tests.serve.bench.cells import Measurements, quantile
from tests.serve.bench.memory import Held
from tests.serve.programs import ROOT

DIRECTORY: Final = ROOT / "runs" / "bench"
REHEARSED: Final = DIRECTORY / "rehearsal"
"""Where numbers go that nobody is to believe."""
LOAD: Final = "gateway-load.json"
MEMORY: Final = "gateway-memory.json"


class Row(BaseModel):
    """One target under one kind of load."""

    cpu_us: float
    """Median of the rounds, per request."""
    per_s: float
    streams: int
    first_text_ms: tuple[float, float]
    """p50, p99, from the request's sending."""
    first_step_ms: tuple[float, float]
    failed: int
    discarded: int
    noisy: int


_TOLD = ("before", "warm", "after", "requests", "bytes_per_request", "failed")
"""Of what a target held."""


class LoadRun(BaseModel):
    """CPU, latency and throughput."""

    when: str
    machine: str
    rounds: int
    cells: dict[str, dict[str, Row]]
    """By cell and target, in order."""
    missing: dict[str, str]
    """Targets that could not be run, and why."""


class MemoryRun(BaseModel):
    """Resident memory."""

    when: str
    targets: dict[str, dict[str, float]]
    missing: dict[str, str]


def load_run(measurements: Measurements, missing: Mapping[str, str], rounds: int) -> LoadRun:
    """Of raw measurements."""
    cells = {cell: {name: _row(one) for name, one in by.items()} for cell, by in measurements.items()}
    machine = f"{_model()}, Python {platform.python_version()}, Linux {platform.release()}"
    return LoadRun(when=_now(), machine=machine, rounds=rounds, cells=cells, missing=dict(missing))


def memory_run(held: Mapping[str, Held], missing: Mapping[str, str]) -> MemoryRun:
    """The same."""
    told = {name: {key: getattr(one, key) for key in _TOLD} for name, one in held.items()}
    return MemoryRun(when=_now(), targets=told, missing=dict(missing))


def keep(run: LoadRun | MemoryRun, directory: Path = DIRECTORY) -> Path:
    """Where it is found by `page`."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / (LOAD if isinstance(run, LoadRun) else MEMORY)
    path.write_text(run.model_dump_json(indent=1) + "\n")
    return path


def _row(measured: Any) -> Row:
    texts, steps = measured.first_text_s, measured.first_step_s
    return Row(
        cpu_us=measured.cpu_us,
        per_s=measured.rate,
        streams=len(steps),
        first_text_ms=_quantiles_ms(texts),
        first_step_ms=_quantiles_ms(steps),
        failed=measured.failed,
        discarded=measured.discarded,
        noisy=measured.noisy,
    )


def _quantiles_ms(seconds: list[float]) -> tuple[float, float]:
    return (1e3 * quantile(seconds, 0.5), 1e3 * quantile(seconds, 0.99)) if seconds else (0.0, 0.0)


def _now() -> str:
    return time.strftime("%Y-%m-%d", time.gmtime())


def _model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} cores, {names[0] if names else platform.machine()}"
