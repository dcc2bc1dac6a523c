"""Scale-out: a stage's rows over several workers of Ray Data, on this machine or a cluster's.

A worker takes rows by their place in the stage's order, asks with a desk of its own and keeps every
reply in a store of its own in the run directory, which all workers must share. The driver puts results
back in order and takes the stores in. So the rows are the same for any number of workers, and so is
what is asked again after a kill: nothing that was kept.

Endpoints' limits and the budget hold for the run: every worker gets an even part of them.
"""

import asyncio
import os
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from logging import WARNING, getLogger
from typing import Any
from uuid import uuid4

import numpy as np

from align.errors import RecipeError, StageAborted
from align.records import Dropped, RecordError, Row
from align.stages.progress import progress
from align.stages.workspace import Workspace
from align.teacher.desk import Desk, StageCalls, open_desk, together
from align.teacher.store import absorb
from align.teacher.worker import Worker

BATCHES_PER_WORKER = 8
"""So that a worker with slow rows does not hold up the others for long."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """What a worker sends back; as bytes, because Ray Data's columns hold no objects of ours."""

    worker: str
    places: tuple[int, ...]
    results: tuple[Row, ...]
    calls: StageCalls
    """Of this worker since it began."""


@contextmanager
def workers(count: int) -> Iterator[None]:
    """The cluster that RAY_ADDRESS names, or one on this machine; none for one worker."""
    if count == 1:
        yield
        return
    import ray
    import ray.data

    address = os.environ.get("RAY_ADDRESS")
    local: Mapping[str, Any] = {} if address else {"num_cpus": count}
    try:
        ray.init(
            address=address, include_dashboard=False, log_to_driver=False, logging_level=WARNING, **local
        )
    except ConnectionError as error:
        raise RecipeError(f"no Ray cluster at RAY_ADDRESS={address}: {error}") from None
    ray.data.DataContext.get_current().enable_progress_bars = False
    getLogger("ray.data").setLevel(WARNING)
    try:
        yield
    finally:
        ray.shutdown()


def ask_on_workers(stage: str, total: int, workspace: Workspace) -> tuple[list[Any], StageCalls]:
    """The results of all the stage's items in order, and what was asked for them; within `workers`."""
    import ray.data

    results: list[Row | Dropped | None] = [None] * total
    calls: dict[str, StageCalls] = {}
    with progress(f"{stage} on {workspace.workers} workers", total) as advance:
        # Blocks that lie ready: tasks that read could wait for ever for the processors that workers hold.
        parts = np.array_split(np.arange(total), min(total, workspace.workers * BATCHES_PER_WORKER))
        done = ray.data.from_numpy(parts).map_batches(
            _StageWorker,
            fn_constructor_args=(stage, total, workspace),
            batch_size=None,  # a block as it is
            batch_format="numpy",
            compute=ray.data.ActorPoolStrategy(size=workspace.workers),
            num_cpus=1,
        )
        for found in done.iter_rows():
            batch = pickle.loads(found["batch"])
            if isinstance(batch, Exception):
                raise batch
            calls[batch.worker] = batch.calls
            for place, result in zip(batch.places, batch.results, strict=True):
                results[place] = result
                advance()
    absorb(workspace.directory)
    return [result for result in results if result is not None], together(calls.values())


class _StageWorker:
    """One worker: made once, with a desk of its own, then given one batch of places after the other."""

    def __init__(self, stage: str, total: int, workspace: Workspace) -> None:
        from align.stages.asking_stages import ASKING

        self._name = uuid4().hex
        self._stage = ASKING[stage]
        self._items = self._stage.items(workspace)
        self._total = total
        self._workspace = workspace
        self._worker = Worker(workspace.workers)
        self._loop = asyncio.Runner()
        self._desk: Desk | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        places = tuple(int(place) for place in batch["data"])
        try:
            answer: object = self._loop.run(self._asked(places))
        except (StageAborted, RecipeError, RecordError) as error:
            answer = error  # for the driver to raise, without Ray's trace around it
        return {"batch": np.array([pickle.dumps(answer)], dtype=object)}

    async def _asked(self, places: tuple[int, ...]) -> _Batch:
        from align.stages.asking import ask_some

        desk = await self._open_desk()
        items = [self._items[place] for place in places]
        results = await ask_some(
            self._stage, items, desk, self._workspace, lambda: None, total=self._total, worker=self._worker
        )
        return _Batch(self._name, places, tuple(results), desk.tally.summary())

    async def _open_desk(self) -> Desk:
        """Opened for the first batch and left open: the worker's process ends with the stage."""
        if self._desk is None:
            opening = open_desk(self._workspace, stage=self._stage.name, worker=self._worker)
            self._desk = await opening.__aenter__()
            self._opening = opening  # its clean-up must not run before the worker's end
        return self._desk
