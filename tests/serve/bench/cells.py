"""What is measured, in which order, and what is thrown away: every target in turn, the whole round again.

A cell during which somebody else used the machine is discarded and measured again, and that is told.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.serve.bench.loader import Load, drive_for
from tests.serve.bench.machine import Look
from tests.serve.bench.script import SLOWLY, ask, http_request
from tests.serve.bench.starting import Target

MOST_OTHER_LOAD = 0.2
"""Cores."""
_WARM_UP = 0.1
"""Of a cell's time, before it is looked at."""


@dataclass(frozen=True)
class Cell:
    """One kind of load."""

    name: str
    callers: int
    stream: bool
    seconds: float

    def requests(self, port: int) -> list[bytes]:
        """What callers ask, over and over; streams have a pause before each frame, as from a real engine."""
        return [http_request(port, ask(stream=self.stream, how=SLOWLY if self.stream else ""))]


PLAIN_1 = Cell("plain, 1 caller", 1, stream=False, seconds=1.5)
PLAIN_8 = Cell("plain, 8 callers", 8, stream=False, seconds=2.5)
PLAIN_32 = Cell("plain, 32 callers", 32, stream=False, seconds=1.5)
STREAM_1 = Cell("stream, 1 caller", 1, stream=True, seconds=4.0)
STREAM_16 = Cell("stream, 16 callers", 16, stream=True, seconds=3.0)
CELLS = (PLAIN_1, PLAIN_8, PLAIN_32, STREAM_1, STREAM_16)


@dataclass
class Measured:
    """One target under one kind of load, over all rounds."""

    cpu_s: list[float] = field(default_factory=list)
    """Per request, by round."""
    per_s: list[float] = field(default_factory=list)
    """Requests answered a second, by round."""
    first_text_s: list[float] = field(default_factory=list)
    """Of every stream."""
    first_step_s: list[float] = field(default_factory=list)
    failed: int = 0
    discarded: int = 0
    """Rounds measured again because of somebody else's load."""
    noisy: int = 0
    """Rounds kept in spite of it, since it did not end."""

    def add(self, load: Load, cpu_s: float) -> None:
        """One round."""
        answered = max(1, load.answered)
        self.cpu_s.append(cpu_s / answered)
        self.per_s.append(load.answered / load.elapsed_s)
        self.first_text_s += load.first_text_s
        self.first_step_s += load.first_step_s
        self.failed += load.failed

    @property
    def cpu_us(self) -> float:
        """Median per request."""
        return 1e6 * statistics.median(self.cpu_s)

    @property
    def rate(self) -> float:
        """Median requests a second."""
        return statistics.median(self.per_s)


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rounds: int = 3
    tries: int = 3
    """Of a cell that somebody else's load falls into; the last one is kept, and told of."""
    scale: float = 1.0
    """Of the cells' seconds."""


Measurements = dict[str, dict[str, Measured]]
"""By cell and target."""


def measure(
    targets: Sequence[Target], engine_pid: int, plan: Plan, tell: Callable[[str], None]
) -> Measurements:
    """Every cell of every target, round by round."""
    found: Measurements = {cell.name: {target.name: Measured() for target in targets} for cell in CELLS}
    for number in range(plan.rounds):
        for cell in CELLS:
            for target in targets:
                measured = found[cell.name][target.name]
                _one(cell, target, engine_pid, plan, measured)
                cpu_us = 1e6 * measured.cpu_s[-1]
                tell(f"{number + 1}/{plan.rounds} {cell.name}, {target.name}: {cpu_us:.0f} µs of CPU each")
    return found


def _one(cell: Cell, target: Target, engine_pid: int, plan: Plan, measured: Measured) -> None:
    requests, seconds = cell.requests(target.port), cell.seconds * plan.scale
    for left in reversed(range(plan.tries)):
        drive_for(seconds * _WARM_UP, target.port, requests, cell.callers)
        look = Look(target.pid, engine_pid)
        load = drive_for(seconds, target.port, requests, cell.callers)
        spent = look.spent()
        is_quiet = spent.other_load <= MOST_OTHER_LOAD
        if is_quiet or not left:
            measured.add(load, spent.target_cpu_s)
            measured.noisy += not is_quiet
            return
        measured.discarded += 1


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that so many are no greater than; nan of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan
