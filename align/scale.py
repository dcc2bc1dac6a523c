"""Scale-out: a stage's rows over several workers of Ray Data, on this machine or a cluster's.

A worker takes rows by their place in the stage's order, asks with a desk of its own and keeps every
reply in a store of its own in the run directory, which all workers must share. The driver deals the
places, puts results back in order, says when the stage must end, and takes the stores in. So the rows are
the same for any number of workers, and so is what is asked again after a stop: nothing that was kept.

Endpoints' limits and the budget hold for the run: every worker gets an even part of them.
"""

import os
import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from logging import WARNING, getLogger
from typing import Any

import numpy as np

from align.errors import RecipeError, StageAborted
from align.recipe import Recipe
from align.records import Dropped, Row
from align.scale_worker import Batch, StageWorker, Stopped, stop_marker
from align.stages.asking import FAILURES, AskingStage, check_failures, rows_at_once
from align.stages.progress import progress
from align.stages.workspace import Workspace
from align.teacher.desk import StageCalls, together
from align.teacher.store import STORE_FILE, absorb
from align.teacher.store_file import opened
from align.teacher.worker import Worker

PARTS_PER_WORKER = 8
"""So that a worker with slow rows does not hold up the others for long."""
MOST_ROWS = 50
"""Of a part, unless a worker has more of them under way at once: what is done shows when a part is."""


def check_workers(recipe: Recipe, count: int) -> None:
    """RecipeError where an endpoint takes fewer requests at once than there are workers."""
    for name in dict.fromkeys(role.endpoint for role in recipe.roles.named().values()):
        most = recipe.endpoints[name].concurrency
        if count > most:
            raise RecipeError(
                f"--workers {count} is more than endpoints.{name} takes requests at once: give --workers "
                f"{most} at most, or raise its concurrency"
            )


@contextmanager
def workers(count: int) -> Iterator[None]:
    """The cluster that RAY_ADDRESS names, or one on this machine; none for one worker."""
    if count == 1:
        yield
        return
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise RecipeError(f"--workers needs Ray ({error}): install the extra `scale`") from None

    address = os.environ.get("RAY_ADDRESS")
    local: Mapping[str, Any] = {} if address else {"num_cpus": count}
    try:
        ray.init(
            # Without a word from the user a cluster that happens to run here is none of ours.
            address=address or "local",
            include_dashboard=False,
            log_to_driver=False,
            logging_level=WARNING,
            **local,
        )
    except ConnectionError as error:
        raise RecipeError(f"no Ray cluster at RAY_ADDRESS={address}: {error}") from None
    ray.data.DataContext.get_current().enable_progress_bars = False
    getLogger("ray.data").setLevel(WARNING)
    try:
        yield
    finally:
        ray.shutdown()


def ask_on_workers(
    stage: AskingStage[Any, Any], items: Sequence[Any], workspace: Workspace
) -> tuple[list[Any], StageCalls]:
    """The results of all the stage's items in order, and what was asked for them; within `workers`.

    The first error that ends the stage is raised once all workers have kept what they had under way.
    """
    workspace = replace(workspace, directory=workspace.directory.resolve())  # workers are elsewhere
    stop = stop_marker(workspace.directory)
    stop.parent.mkdir(parents=True, exist_ok=True)
    stop.unlink(missing_ok=True)
    # Takes in the log that a kill may have left, which no other machine could read.
    opened(workspace.directory / STORE_FILE).close()
    gathered = Gathered(stage, len(items), workspace)
    with progress(f"{stage.name} on {workspace.workers} workers", len(items), gathered.as_line) as advance:
        for answer in _answers(stage, items, workspace):
            for _ in range(gathered.take(answer)):
                advance()
            if gathered.error:
                stop.touch()
    absorb(workspace.directory)
    stop.unlink(missing_ok=True)
    return gathered.whole()


def _answers(
    stage: AskingStage[Any, Any], items: Sequence[Any], workspace: Workspace
) -> Iterator[Batch | Exception]:
    """From all workers, as they come."""
    import ray.data
    import ray.exceptions

    rows = max(MOST_ROWS, rows_at_once(stage, workspace, Worker(workspace.workers)))
    parts = dealt([stage.together(item) for item in items], workspace.workers, rows)
    # Blocks that lie ready: tasks that read could wait for ever for the processors that workers hold.
    done = ray.data.from_numpy([np.array(part) for part in parts]).map_batches(
        StageWorker,
        fn_constructor_args=(stage.name, len(items), workspace),
        batch_size=None,  # a block as it is
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(size=workspace.workers),
        num_cpus=1,
    )
    try:
        for found in done.iter_rows():
            yield pickle.loads(found["batch"])
    except ray.exceptions.RayError as error:
        raise StageAborted(
            f"{stage.name}: Ray lost a worker; run again: what was kept is safe\n{error}"
        ) from error


def dealt(groups: Sequence[str], workers: int, most: int) -> list[list[int]]:
    """The places in parts, those of one group always in one part.

    A group's requests may be equal, and whoever asks alone asks them once; two workers would not know of
    each other. A part has `most` places, or as many as its only group.
    """
    members: dict[str, list[int]] = {}
    for place, group in enumerate(groups):
        members.setdefault(group, []).append(place)
    size = min(most, len(groups) // (workers * PARTS_PER_WORKER))
    parts: list[list[int]] = []
    for places in members.values():
        if not parts or len(parts[-1]) + len(places) > size:
            parts.append([])
        parts[-1] += places
    return parts


class Gathered:
    """What the driver has heard from the workers of a stage."""

    def __init__(self, stage: AskingStage[Any, Any], total: int, workspace: Workspace) -> None:
        self.error: Exception | None = None
        """What ends the stage."""
        self._stage = stage
        self._workspace = workspace
        self._results: list[Row | Dropped | None] = [None] * total
        self._failed: list[Dropped] = []
        self._calls: dict[str, StageCalls] = {}

    def take(self, answer: Batch | Exception) -> int:
        """Note what a worker sent; gives the number of rows in it."""
        if isinstance(answer, Exception):
            self._end(answer)
            return 0
        newest = (self._calls.get(answer.worker, answer.calls), answer.calls)
        self._calls[answer.worker] = max(newest, key=lambda calls: calls.seconds)
        for place, result in zip(answer.places, answer.results, strict=True):
            self._results[place] = result
            if isinstance(result, Dropped) and result.reason in FAILURES:
                self._failed.append(result)
        try:
            check_failures(self._stage, self._failed, len(self._results), self._workspace)
        except StageAborted as error:
            self._end(error)
        return len(answer.places)

    def as_line(self) -> str:
        """What all workers asked so far, for a progress bar; once one of them has told."""
        return together(self._calls.values()).as_line()

    def whole(self) -> tuple[list[Any], StageCalls]:
        """All results in order, and what was asked for them; raises the error that ended the stage."""
        if self.error:
            raise self.error
        results = [result for result in self._results if result is not None]
        if missing := len(self._results) - len(results):
            raise RuntimeError(f"{self._stage.name}: workers left {missing} rows without a result")
        return results, together(self._calls.values())

    def _end(self, error: Exception) -> None:
        """The first error counts; that a worker was stopped, only where nobody says why."""
        if self.error is None or isinstance(self.error, Stopped):
            self.error = error
