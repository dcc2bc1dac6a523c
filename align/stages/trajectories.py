"""Trajectories: a teacher that sees the picture writes a policy-cited reply to every query.

Rows are kept as they arrive under `arrived/`, so a killed stage asks only for what is missing; the
stage's own files follow in the queries' order, so neither order nor concurrency shows in them. What
the teacher wrote is judged later, by the gates: a paid reply is never thrown away here.
"""

import asyncio
import base64
import hashlib
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from align.recipe import RecipeError
from align.records import (
    Dropped,
    DropReason,
    Query,
    RecordError,
    RowWriter,
    Trajectory,
    mend_torn_line,
    read_rows,
)
from align.stages import queries
from align.stages.drops import check_share
from align.stages.progress import Advance, progress
from align.stages.workspace import Made, Workspace
from align.teacher.client import Reply, Teacher, TeacherError, TeacherRejects
from align.teacher.opening import check_key, open_teacher
from policies.catalog import Catalog
from policies.formats import ReasoningFormat
from policies.forms import Budget, PolicyTooLong, fitted
from policies.prompt import Message, student_messages

STAGE = "trajectories"
ARRIVED = "arrived"

Ask = Callable[[Query], Awaitable[Trajectory | Dropped]]
T = TypeVar("T")


class Arrived(AbstractContextManager["Arrived"]):
    """What has come so far, in the order of arrival, safe on disk; drops that may pass are not kept."""

    def __init__(self, directory: Path) -> None:
        rows, dropped = directory / ARRIVED / "rows.jsonl", directory / ARRIVED / "dropped.jsonl"
        self.rows = _kept(rows, Trajectory)
        self.dropped = _kept(dropped, Dropped)
        self._rows_writer: RowWriter[Trajectory] = RowWriter(rows)
        self._dropped_writer: RowWriter[Dropped] = RowWriter(dropped)
        self._open_files = ExitStack()

    def __enter__(self) -> Self:
        self._open_files.enter_context(self._rows_writer)
        self._open_files.enter_context(self._dropped_writer)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open_files.close()

    @property
    def finished(self) -> set[str]:
        """Queries that are never asked again."""
        kept = {row.id for row in self.dropped if row.reason is not DropReason.TEACHER_UNAVAILABLE}
        return kept | {row.query_id for row in self.rows}

    def add(self, result: Trajectory | Dropped) -> None:
        """Keep a result."""
        match result:
            case Trajectory():
                self.rows.append(result)
                self._rows_writer.write(result)
            case Dropped():
                self.dropped.append(result)
                if result.reason is not DropReason.TEACHER_UNAVAILABLE:
                    self._dropped_writer.write(result)


def check(workspace: Workspace) -> None:
    """RecipeError where some row's policies would not fit, before anything is paid for."""
    check_key(workspace.recipe)
    try:
        # Rows near no policy get all of them.
        fitted(workspace.catalog.policies, Budget(workspace.recipe.trajectories.policy_tokens))
    except PolicyTooLong as error:
        raise RecipeError(f"key 'trajectories.policy_tokens': {error}") from None


def make(workspace: Workspace) -> Made:
    """Ask for what is missing, then leave everything in the queries' order."""
    asked = list(workspace.rows(queries.STAGE, Query))
    with Arrived(workspace.folder(STAGE)) as arrived:
        asyncio.run(_collect_all(workspace, asked, arrived))
    order = {query.id: place for place, query in enumerate(asked)}
    rows = sorted(arrived.rows, key=lambda row: order[row.query_id])
    return workspace.leave(STAGE, rows, sorted(arrived.dropped, key=lambda row: order[row.id]))


async def _collect_all(workspace: Workspace, asked: Sequence[Query], arrived: Arrived) -> None:
    recipe = workspace.recipe.trajectories
    async with open_teacher(workspace.recipe) as teacher:
        with progress(STAGE, len(asked), len(arrived.finished)) as advance:
            await collect(
                asked,
                asker(teacher, workspace),
                arrived,
                concurrency=recipe.endpoint.concurrency,
                max_dropped_share=recipe.max_dropped_share,
                advance=advance,
            )


async def collect(
    queries: Sequence[Query],
    ask: Ask,
    arrived: Arrived,
    *,
    concurrency: int,
    max_dropped_share: float,
    advance: Advance,
) -> None:
    """Ask for every query that has not come yet; StageAborted as soon as too many are dropped."""

    async def one(query: Query) -> None:
        arrived.add(await ask(query))
        advance()
        check_share(STAGE, arrived.dropped, len(queries), max_dropped_share)

    finished = arrived.finished
    await each_bounded(one, (query for query in queries if query.id not in finished), concurrency)
    check_share(STAGE, arrived.dropped, len(queries), max_dropped_share)


async def each_bounded(
    work: Callable[[T], Coroutine[Any, Any, None]], items: Iterable[T], concurrency: int
) -> None:
    """Do the work for every item, so many at once; the first error cancels the rest and is raised."""
    running: set[asyncio.Task[None]] = set()
    try:
        for item in items:
            if len(running) >= concurrency:
                running = await _one_less(running)
            running.add(asyncio.create_task(work(item)))
        while running:
            running = await _one_less(running)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _one_less(running: set[asyncio.Task[None]]) -> set[asyncio.Task[None]]:
    done, rest = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    running.intersection_update(rest)  # also for the caller's clean-up, should a result raise
    for task in done:
        task.result()
    return running


def asker(teacher: Teacher, workspace: Workspace) -> Ask:
    """How one query becomes a trajectory or a drop."""
    name = workspace.recipe.trajectories.model
    budget = Budget(workspace.recipe.trajectories.policy_tokens)

    async def ask(query: Query) -> Trajectory | Dropped:
        image = read_image(query, workspace.directory)
        messages = teacher_messages(query, image, workspace.catalog, workspace.reasoning_format, budget)
        try:
            return _trajectory(query, name, await teacher.ask(messages))
        except TeacherError as error:
            rejected = isinstance(error, TeacherRejects)
            reason = DropReason.TEACHER_REJECTED if rejected else DropReason.TEACHER_UNAVAILABLE
            return Dropped(id=query.id, stage=STAGE, reason=reason, detail=str(error))

    return ask


def teacher_messages(
    query: Query, image: bytes, catalog: Catalog, reasoning_format: ReasoningFormat, budget: Budget
) -> list[Message]:
    """Picture, instruction and the policy of the row's category; all policies where it has none.

    A teacher that sees is asked as the student would be with policies in context: its reply can speak
    of the picture, and never of a description. The student learns from it without the policies.
    """
    policy = catalog.policy(query.category) if query.category else None
    url = f"data:image/png;base64,{base64.b64encode(image).decode()}"
    part = {"type": "image_url", "image_url": {"url": url}}
    policies = [policy] if policy else catalog.policies
    return student_messages(
        query.instruction, [part], policies, reasoning_format=reasoning_format, budget=budget
    )


def read_image(query: Query, run_directory: Path) -> bytes:
    """The query's picture, as it was when the query was written."""
    path = run_directory / query.image
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RecordError(f"{path}, the picture of {query.id}, cannot be read: {error.strerror}") from None
    if hashlib.sha256(content).hexdigest() != query.image_sha256:
        raise RecordError(f"{path}, the picture of {query.id}, was changed after the query was written")
    return content


def _trajectory(query: Query, name: str, reply: Reply) -> Trajectory | Dropped:
    if not reply.text.strip():
        detail = f"finish_reason {reply.finish_reason}"
        return Dropped(id=query.id, stage=STAGE, reason=DropReason.EMPTY_REPLY, detail=detail)
    return Trajectory(
        query_id=query.id,
        completion=reply.text,
        teacher=name,
        finish_reason=reply.finish_reason,
        usage=reply.usage,
    )


RowT = TypeVar("RowT", Trajectory, Dropped)


def _kept(path: Path, row_type: type[RowT]) -> list[RowT]:
    mend_torn_line(path)
    return list(read_rows(path, row_type)) if path.exists() else []
