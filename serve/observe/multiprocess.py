"""Metrics of several processes told as one: counts add up, and those of a process that died stay.

Each process writes its values to files in one directory, under a name of its own that its replacement takes
over: what a worker counted is counted on, and a gauge of what it was doing goes with it.
"""

import asyncio
import os
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"


def share_metrics(directory: Path, process: str) -> None:
    """Every metric that this process makes from here on is kept there. Before the first of them is made.

    No two processes that live at the same time may have one name."""
    # The library also looks at the variable, and picks its way of keeping values when it is imported; this
    # is that choice, made later and with a name in place of a process id.
    os.environ[_DIRECTORY] = str(directory)
    values.ValueClass = values.MultiProcessValue(lambda: process)  # type: ignore[no-untyped-call]


def forget_process(directory: Path, process: str) -> None:
    """It is dead: nothing is in flight there any more. What it counted remains."""
    mark_process_dead(process, str(directory))  # type: ignore[no-untyped-call]


def shared_registry(directory: Path) -> CollectorRegistry:
    """What `/metrics` of any of the processes tells."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(directory))  # type: ignore[no-untyped-call]
    return registry


class Exposition:
    """Prometheus text, rendered off the event loop, once for all who ask at the same time."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._rendering: asyncio.Task[bytes] | None = None

    async def text(self) -> bytes:
        """What the metrics say; to somebody who came during a rendering, what they said at its beginning."""
        if self._rendering is None or self._rendering.done():
            self._rendering = asyncio.create_task(asyncio.to_thread(generate_latest, self._registry))
        # Whoever leaves must not take the answer away from the others.
        return await asyncio.shield(self._rendering)
