"""What processes cost, and whether the machine is quiet: from `/proc`, whoever is looked at."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

MIB = 1024 * 1024


def cores() -> tuple[int, int]:
    """One for what is measured and one for everything else."""
    mine = sorted(os.sched_getaffinity(0))
    assert len(mine) >= 2, (
        "the bench needs two cores: one for the gateway, one for the engine and the callers"
    )
    return mine[0], mine[1]


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """This thread, and every process that it starts."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _tree(pid: int) -> list[psutil.Process]:
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def cpu_s(pid: int) -> float:
    """User and system time of a process and all under it."""
    times = [process.cpu_times() for process in _tree(pid)]
    return float(sum(one.user + one.system for one in times))


def rss_mib(pid: int) -> float:
    """Resident memory of a process and all under it; pages that they share count more than once."""
    return float(sum(process.memory_info().rss for process in _tree(pid)) / MIB)


@dataclass(frozen=True)
class Spent:
    """Between two looks."""

    target_cpu_s: float
    other_load: float
    """Cores that somebody else was using: neither the target, nor the engine, nor the callers."""


class Look:
    """At the target, and at everything else."""

    def __init__(self, target: int | None, engine: int) -> None:
        self._target = target
        self._engine = engine
        self._began = self._now()

    def spent(self) -> Spent:
        """Since this look."""
        wall, busy, target, bench = (now - then for now, then in zip(self._now(), self._began, strict=True))
        return Spent(target, max(0.0, (busy - target - bench) / wall))

    def _now(self) -> tuple[float, float, float, float]:
        machine = psutil.cpu_times()
        busy = machine.user + machine.nice + machine.system + machine.irq + machine.softirq
        own = psutil.Process().cpu_times()
        bench = own.user + own.system + cpu_s(self._engine)
        return time.perf_counter(), busy, cpu_s(self._target) if self._target else 0.0, bench
