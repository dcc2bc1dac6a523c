"""What every stage that asks models has in common: one piece of work per row, replies or drops in order.

A stage says which rows it works on, in a fixed order, and what is asked for one of them. How many are
under way at once, in one process or in many, does not show in its result. Every reply is kept by the
desk's store before it is used, so a killed stage is simply run again: what was answered is not asked.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from align.recipe import Recipe
from align.records import Dropped, DropReason, Row
from align.stages.drops import check_share
from align.stages.progress import progress
from align.stages.workspace import CALLS_FILE, Workspace
from align.teacher.desk import Asker, Desk, StageCalls, open_desk
from align.teacher.reply import Reply, TeacherRejects, TeacherUnavailable
from align.teacher.worker import Worker

FAILURES = frozenset({
    DropReason.REJECTED,
    DropReason.UNAVAILABLE,
    DropReason.EMPTY_REPLY,
    DropReason.CONTENT_FILTER,
    DropReason.UNREADABLE,
    DropReason.CUT_OFF,
    DropReason.DECLINED,
})  # fmt: skip
"""Drops for want of a usable reply, as against replies that were found wanting."""


class Drop(Exception):
    """Raised by a stage's work: this row leaves the journey here."""

    def __init__(self, reason: DropReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Item(Protocol):
    """What a stage works on."""

    @property
    def id(self) -> str: ...


ItemT = TypeVar("ItemT", bound=Item)
RowT = TypeVar("RowT", bound=Row)


@dataclass(frozen=True, slots=True)
class AskingStage(Generic[ItemT, RowT]):
    """One stage: its rows, and what is asked for each."""

    name: str
    items: Callable[[Workspace], Sequence[ItemT]]
    """In the order in which the results are left."""
    work: Callable[[ItemT, Desk, Workspace], Awaitable[RowT]]
    """The item's row; raises Drop."""
    roles: Callable[[Recipe], tuple[str, ...]]
    """Whom it asks."""
    max_failed_share: Callable[[Recipe], float]
    together: Callable[[ItemT], str] = lambda item: item.id
    """Items whose requests may be equal have the same; one worker gets them all, so each is asked once."""


@dataclass(frozen=True, slots=True)
class Finished(Generic[RowT]):
    """What a stage's work came to, both in the order of its items."""

    rows: tuple[RowT, ...]
    dropped: tuple[Dropped, ...]


def ask_all(stage: AskingStage[ItemT, RowT], workspace: Workspace) -> Finished[RowT]:
    """Do the stage's work for every item; StageAborted where too many get no usable reply."""
    items = stage.items(workspace)
    if workspace.workers > 1 and items:
        from align.scale import ask_on_workers  # which knows every stage that asks

        results, calls = ask_on_workers(stage, items, workspace)
    else:
        results, calls = asyncio.run(_ask_here(stage, items, workspace))
    write_calls(workspace.folder(stage.name), calls)
    dropped = tuple(result for result in results if isinstance(result, Dropped))
    check_failures(stage, dropped, len(items), workspace)
    return Finished(tuple(row for row in results if not isinstance(row, Dropped)), dropped)


async def _ask_here(
    stage: AskingStage[ItemT, RowT], items: Sequence[ItemT], workspace: Workspace
) -> tuple[list[RowT | Dropped], StageCalls]:
    async with open_desk(workspace, stage=stage.name) as desk:
        with progress(stage.name, len(items), status=desk.tally.as_line) as advance:
            results = await ask_some(stage, items, desk, workspace, advance, total=len(items))
        return results, desk.tally.summary()


async def ask_some(
    stage: AskingStage[ItemT, RowT],
    items: Sequence[ItemT],
    desk: Desk,
    workspace: Workspace,
    advance: Callable[[], None],
    *,
    total: int,
    worker: Worker | None = None,
) -> list[RowT | Dropped]:
    """The results of these items, of a stage that has `total`; StageAborted as soon as too many fail.

    `advance` is called for every row that is done; what it raises ends the work, too.
    """
    results: list[RowT | Dropped | None] = [None] * len(items)
    failed: list[Dropped] = []

    async def one(place: int) -> None:
        result = results[place] = await _one(stage, items[place], desk, workspace)
        advance()
        if isinstance(result, Dropped) and result.reason in FAILURES:
            failed.append(result)
            check_failures(stage, failed, total, workspace)

    await each_bounded(one, range(len(items)), rows_at_once(stage, workspace, worker or Worker()))
    return [result for result in results if result is not None]


async def _one(
    stage: AskingStage[ItemT, RowT], item: ItemT, desk: Desk, workspace: Workspace
) -> RowT | Dropped:
    try:
        return await stage.work(item, desk, workspace)
    except Drop as drop:
        return Dropped(id=item.id, stage=stage.name, reason=drop.reason, detail=drop.detail)


def check_failures(
    stage: AskingStage[ItemT, RowT], dropped: Iterable[Dropped], total: int, workspace: Workspace
) -> None:
    """StageAborted where more of the stage's `total` rows got no usable reply than it may lose."""
    failed = [row for row in dropped if row.reason in FAILURES]
    limit = stage.max_failed_share(workspace.recipe)
    check_share(stage.name, failed, total, limit, f"{stage.name}.max_failed_share")


def rows_at_once(stage: AskingStage[ItemT, RowT], workspace: Workspace, worker: Worker) -> int:
    """Rows under way: twice what the endpoints take, so that none of them waits for rows."""
    named = workspace.recipe.roles.named()
    endpoints = {named[role].endpoint for role in stage.roles(workspace.recipe)}
    slots = sum(workspace.recipe.endpoints[name].concurrency for name in endpoints)
    return max(2, 2 * slots // worker.of)


async def each_bounded(
    work: Callable[[int], Coroutine[Any, Any, None]], items: Iterable[int], concurrency: int
) -> None:
    """Do the work for every item, so many at once; the first error cancels the rest and is raised."""
    waiting = iter(items)

    async def runner() -> None:
        for item in waiting:
            await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(runner())
    except BaseExceptionGroup as errors:
        raise _first(errors) from None


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """What went wrong first; an interruption by the user before anything else."""
    found = errors.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found


async def reply_of(
    asker: Asker, messages: Sequence[dict[str, Any]], *, seed: int, schema: dict[str, Any] | None = None
) -> Reply:
    """A reply with a text in it, the model's own thoughts removed; Drop where there is none.

    Where thoughts were removed nobody knows how many tokens are left, so the usage is not told: the ledger
    has it.
    """
    try:
        reply = await asker.ask(messages, seed=seed, schema=schema)
    except TeacherRejects as error:
        raise Drop(DropReason.REJECTED, str(error)) from None
    except TeacherUnavailable as error:
        raise Drop(DropReason.UNAVAILABLE, str(error)) from None
    if reply.refusal is not None or reply.finish_reason == "content_filter":
        raise Drop(DropReason.CONTENT_FILTER, (reply.refusal or "finish_reason content_filter")[:200])
    inline = asker.role.own_thinking == "inline"
    # A student taught on a break after thoughts that it does not have would begin with that break.
    text = (_without_thoughts(reply) if inline else reply.text).lstrip()
    if not text:
        raise Drop(DropReason.EMPTY_REPLY, f"finish_reason {reply.finish_reason}")
    return Reply(text, reply.finish_reason, None if inline else reply.usage, None)


def _without_thoughts(reply: Reply) -> str:
    _, end, after = reply.text.partition("</think>")
    if not end:
        raise Drop(DropReason.CUT_OFF, f"no end of the model's own thoughts, {reply.finish_reason}")
    return after


def whole(reply: Reply) -> Reply:
    """The reply, unless it was cut off; Drop where it was."""
    if reply.finish_reason == "length":
        raise Drop(DropReason.CUT_OFF, "the reply reached max_tokens")
    return reply


def write_calls(folder: Path, calls: StageCalls) -> None:
    """What the stage's last attempt asked and spent, for reports; no stage reads it."""
    partial = folder / f".{CALLS_FILE}.partial"
    partial.write_text(calls.model_dump_json(indent=2) + "\n", encoding="utf-8")
    os.replace(partial, folder / CALLS_FILE)
