"""One worker of a stage: it asks for parts of the stage's rows, with a desk and a store of its own.

Whoever of the workers meets an error that ends the stage leaves a marker in the run directory. The others
see it before their next row; all of them finish and keep what is under way, because it is paid for. Knows
nothing of how parts come to it, beyond the form in which Ray Data hands them over.
"""

import asyncio
import pickle
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from align.errors import RecipeError, StageAborted
from align.records import Dropped, RecordError, Row
from align.stages.asking import ask_some
from align.stages.asking_stages import ASKING
from align.stages.workspace import Workspace
from align.teacher.desk import Desk, StageCalls, open_desk
from align.teacher.store import WORKERS_FOLDER
from align.teacher.worker import Worker


class Stopped(StageAborted):
    """This worker ends because another one, or the driver, has found out that the stage must."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What a worker has made of one part."""

    worker: str
    places: tuple[int, ...]
    results: tuple[Row | Dropped, ...]
    calls: StageCalls
    """Of this worker since it began."""


def stop_marker(directory: Path) -> Path:
    """Workers of the run begin no row while this file is there."""
    return directory / WORKERS_FOLDER / "stop"


class StageWorker:
    """One worker: made once, then given one part after the other."""

    def __init__(self, stage: str, total: int, workspace: Workspace) -> None:
        """`total` is how many items the stage has."""
        self._name = uuid4().hex
        self._stage = ASKING[stage]
        self._items = self._stage.items(workspace)
        self._total = total
        self._workspace = workspace
        self._worker = Worker(workspace.workers)
        self._stop = stop_marker(workspace.directory)
        self._loop = asyncio.Runner()
        self._desk: Desk | None = None
        self._opened = AsyncExitStack()

    def __call__(self, part: dict[str, Any]) -> dict[str, Any]:
        """As bytes, because Ray Data's columns hold no objects of ours."""
        answer = self._loop.run(self.answer([int(place) for place in part["data"]]))
        return {"batch": np.array([pickle.dumps(answer)], dtype=object)}

    async def answer(self, places: list[int]) -> Batch | Exception:
        """The results for these places, or the error that ends the stage, for the driver to raise."""
        try:
            self._go_on()
            return await self._asked(places)
        except (StageAborted, RecipeError, RecordError) as error:
            return error

    async def _asked(self, places: list[int]) -> Batch:
        try:
            desk = await self._open_desk()
            results = await ask_some(
                self._stage,
                [self._items[place] for place in places],
                desk,
                self._workspace,
                self._go_on,
                total=self._total,
                worker=self._worker,
            )
        except BaseException:
            self._stop.touch()
            self._desk = None
            await self._opened.aclose()  # waits for what is under way
            raise
        return Batch(self._name, tuple(places), tuple(results), desk.tally.summary())

    def _go_on(self) -> None:
        if self._stop.exists():
            raise Stopped(f"{self._stage.name}: another worker ended the stage; run again to go on")

    async def _open_desk(self) -> Desk:
        """Opened for the first part and left open: the worker's process ends with the stage."""
        if self._desk is None:
            opening = open_desk(self._workspace, stage=self._stage.name, worker=self._worker)
            self._desk = await self._opened.enter_async_context(opening)
        return self._desk
