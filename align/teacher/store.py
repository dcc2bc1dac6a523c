"""Every reply that was ever paid for in a run, by the content of its request, and what each attempt cost.

    <run>/calls.sqlite                  written by a process that asks alone, and by `absorb`
    <run>/calls/worker-<number>.sqlite  written by one of several workers, which read the other; whoever
                                        takes a dead worker's place goes on with its file

A reply is on the disk before whoever asked gets it; those that arrive while a commit runs are committed
together by the next one. A charge is written when its request goes out, at its worst case, and corrected
when the reply comes: what a kill leaves under way counts as spent.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from align.errors import RecipeError
from align.records import Usage
from align.teacher.ledger import Charge, Spending
from align.teacher.reply import Reply, TeacherRejects
from align.teacher.store_file import (
    ENDING_FOR_S,
    TABLES,
    StoreFailed,
    claimed,
    connected,
    named_faults,
    opened,
    remove,
)
from align.teacher.worker import Worker

STORE_FILE = "calls.sqlite"
WORKERS_FOLDER = "calls"
CHARGES_WAIT_S = 0.02
"""A charge that no reply takes along to the disk goes there by itself after this time."""

_KEEP_REPLY = f"INSERT OR IGNORE INTO replies VALUES ({', '.join('?' * 12)})"
_KEEP_REJECTION = f"INSERT OR IGNORE INTO rejections VALUES ({', '.join('?' * 6)})"
_CHARGE = f"INSERT OR REPLACE INTO charges VALUES ({', '.join('?' * 10)})"
_DROP_CHARGE = "DELETE FROM charges WHERE id = ?"
_FIND = """SELECT text, finish_reason, refusal, prompt_tokens, completion_tokens, usage_known
           FROM replies WHERE key = ?"""
_CHARGES = "SELECT id, model, prompt_tokens, completion_tokens, money FROM charges"
_FIND_REJECTION = "SELECT detail FROM rejections WHERE key = ?"
_SPENDING = """SELECT model, SUM(prompt_tokens), SUM(completion_tokens), SUM(money)
               FROM charges GROUP BY model, money IS NULL ORDER BY model, money IS NULL"""
_KEPT = "SELECT key FROM {} WHERE stage = :stage AND role = :role AND model = :model AND at >= :since"


@dataclass(slots=True)
class _Batch:
    """What goes to the disk together."""

    replies: list[tuple[object, ...]] = field(default_factory=list)
    rejections: list[tuple[object, ...]] = field(default_factory=list)
    charges: dict[str, tuple[object, ...] | None] = field(default_factory=dict)
    """By id; None where the attempt cost nothing after all."""
    waiting: list[asyncio.Future[None]] = field(default_factory=list)

    def write(self, file: sqlite3.Connection) -> None:
        """As one transaction, which is left open."""
        file.execute("BEGIN IMMEDIATE")
        file.executemany(_KEEP_REPLY, self.replies)
        file.executemany(_KEEP_REJECTION, self.rejections)
        file.executemany(_CHARGE, [row for row in self.charges.values() if row])
        file.executemany(_DROP_CHARGE, [(id_,) for id_, row in self.charges.items() if not row])

    def tell(self, failed: StoreFailed | RecipeError | None) -> None:
        """Those who wait, how it went."""
        for durable in self.waiting:
            if durable.done():  # given up meanwhile
                continue
            if failed:
                durable.set_exception(_again(failed))
            else:
                durable.set_result(None)


class Store:
    """The replies of a run, open for one stage; `open_store` makes it."""

    def __init__(self, stage: str, path: Path, shared: Path | None) -> None:
        """`path` is read and written, `shared` only read."""
        self._stage = stage
        self._path = path
        self._batch = _Batch()
        self._committing: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._failed: StoreFailed | RecipeError | None = None
        with ExitStack() as files:
            self._file = files.enter_context(closing(opened(path)))
            # Another connection, which reads while the first commits.
            self._readers = {path: files.enter_context(closing(connected(path)))}
            if shared is not None and shared.exists():
                self._readers[shared] = files.enter_context(closing(opened(shared, read_only=True)))
            self._thread = files.enter_context(ThreadPoolExecutor(1, thread_name_prefix="replies"))
            self._files = files.pop_all()

    def find(self, key: str) -> Reply | None:
        """The kept reply; TeacherRejects where the server had said that there will be none."""
        for path, reader in self._readers.items():
            with named_faults(path):
                # fetchall, not fetchone: a cursor with rows left would hold up checkpoints.
                for row in reader.execute(_FIND, (key,)).fetchall():
                    return _reply(*row)
                for (detail,) in reader.execute(_FIND_REJECTION, (key,)).fetchall():
                    raise TeacherRejects(detail)
        return None

    def spending(self) -> list[Spending]:
        """What the file that is written says was spent."""
        return self._spending(self._path)

    def spending_of_others(self) -> list[Spending]:
        """What a worker's run had spent before its workers began."""
        others = self._readers.keys() - {self._path}
        return [spending for path in others for spending in self._spending(path)]

    def note(self, charge: Charge) -> None:
        """Write a charge, soon; StoreFailed where nothing can be kept any more, so ask for nothing."""
        self._check()
        self._batch.charges[charge.id] = self._row(charge)
        if self._committing is None and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(CHARGES_WAIT_S, self._commit_soon)

    def cancel(self, charge: Charge) -> None:
        """The attempt cost nothing."""
        self._batch.charges[charge.id] = None

    async def keep(self, reply: Reply, charge: Charge) -> None:
        """Returns when the reply and what it cost are on the disk."""
        tokens = (charge.prompt_tokens, charge.completion_tokens, reply.usage is not None, charge.money)
        said = (reply.text, reply.finish_reason, reply.refusal)
        row = (charge.key, self._stage, charge.role, charge.model, *said, *tokens, _now())
        self._batch.replies.append(row)
        self._batch.charges[charge.id] = self._row(charge)
        await self._on_disk()

    async def keep_rejection(self, detail: str, charge: Charge) -> None:
        """Remember that the server will never answer; that cost nothing."""
        row = (charge.key, self._stage, charge.role, charge.model, detail, _now())
        self._batch.rejections.append(row)
        self._batch.charges[charge.id] = None
        await self._on_disk()

    async def close(self) -> None:
        """Commit what is left."""
        failed_before = self._failed
        with self._files:
            self._commit_soon()
            while self._committing:
                await self._committing
        if not failed_before:
            self._check()

    def _spending(self, path: Path) -> list[Spending]:
        return _spending(self._readers[path], path)

    def _check(self) -> None:
        if self._failed:
            raise _again(self._failed)

    def _row(self, charge: Charge) -> tuple[object, ...]:
        tokens = (charge.prompt_tokens, charge.completion_tokens, charge.money, charge.certain)
        return (charge.id, charge.key, self._stage, charge.role, charge.model, *tokens, _now())

    async def _on_disk(self) -> None:
        self._check()
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._batch.waiting.append(durable)
        self._commit_soon()
        await durable

    def _commit_soon(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if self._committing is None and not self._failed:
            self._committing = asyncio.create_task(self._commit_all())

    async def _commit_all(self) -> None:
        """Commit until nothing is left; after a failure, everyone who waits is told."""
        try:
            while (self._batch.charges or self._batch.waiting) and not self._failed:
                batch, self._batch = self._batch, _Batch()
                try:
                    await self._commit(batch)
                except Exception as error:  # noqa: BLE001 - whatever it is, nobody may wait for ever
                    self._failed = self._fault(error)
                    self._batch.tell(self._failed)
                batch.tell(self._failed)
        finally:
            self._committing = None

    def _fault(self, error: Exception) -> StoreFailed | RecipeError:
        if isinstance(error, StoreFailed | RecipeError):
            return error
        return StoreFailed(
            f"{self._path}: a reply could not be kept ({type(error).__name__}: {error}); this is a fault of "
            "align, so report it: what was kept before is safe"
        )

    async def _commit(self, batch: _Batch) -> None:
        """All of it or nothing. Only what waits for the disk is done in the thread."""
        loop = asyncio.get_running_loop()
        with named_faults(self._path):
            try:
                batch.write(self._file)
                await loop.run_in_executor(self._thread, self._file.commit)
            finally:
                self._file.rollback()  # does nothing after a commit


@asynccontextmanager
async def open_store(directory: Path, stage: str, worker: Worker) -> AsyncIterator[Store]:
    """The run's store; RecipeError where its file is not one."""
    shared = directory / STORE_FILE
    with ExitStack() as stack:
        if worker.of > 1:
            places = [directory / WORKERS_FOLDER / f"worker-{number}.sqlite" for number in range(worker.of)]
            store = Store(stage, stack.enter_context(claimed(places)), shared)
        else:
            store = Store(stage, shared, None)
        try:
            yield store
        finally:
            await store.close()


def absorb(directory: Path) -> None:
    """Move what workers left into the run's own file; what a kill interrupts is done the next time."""
    shared = directory / STORE_FILE
    for own in _workers_files(directory):
        with claimed([own], wait_s=ENDING_FOR_S):
            opened(own).close()
            with closing(opened(shared)) as file, named_faults(shared):
                file.execute("ATTACH DATABASE ? AS worker", (str(own),))
                with file:
                    file.execute("BEGIN IMMEDIATE")
                    for table in TABLES:
                        file.execute(f"INSERT OR IGNORE INTO {table} SELECT * FROM worker.{table}")
            remove(own)


def spending_of_run(directory: Path) -> list[Spending] | None:
    """What all attempts at a run have spent, by model; None where it has no store.

    RecipeError where a file is not one. A charge that lies in two files is one: a kill may have come
    between taking a worker's file in and removing it.
    """
    paths = stores_of(directory)
    if not paths:
        return None
    with closing(sqlite3.connect(":memory:")) as together:
        together.execute(
            "CREATE TABLE charges (id PRIMARY KEY, model, prompt_tokens, completion_tokens, money)"
        )
        for path in paths:
            with closing(opened(path, read_only=True)) as file, named_faults(path):
                made = file.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
                charges = file.execute(_CHARGES) if made else ()  # a kill may have left it without tables
                together.executemany("INSERT OR IGNORE INTO charges VALUES (?, ?, ?, ?, ?)", charges)
        return _spending(together, directory)


def stores_of(directory: Path) -> list[Path]:
    """The run's own file, and those of workers that were not taken in yet."""
    own = directory / STORE_FILE
    return [*([own] if own.is_file() else []), *_workers_files(directory)]


def _workers_files(directory: Path) -> list[Path]:
    return sorted((directory / WORKERS_FOLDER).glob("worker-*.sqlite"))


def kept_keys(
    file: sqlite3.Connection, *, stage: str, role: str, model: str, since: str, rejections: bool
) -> set[str]:
    """Keys of the requests that a store's file has a reply to or, if asked for, a rejection of.

    `since` is a time in ISO 8601, UTC, to the second.
    """
    asked = {"stage": stage, "role": role, "model": model, "since": since}
    tables = ("replies", "rejections") if rejections else ("replies",)
    return {key for table in tables for (key,) in file.execute(_KEPT.format(table), asked).fetchall()}


def forget_rejections(directory: Path, stage: str) -> None:
    """Let a stage ask again what servers would not answer."""
    path = directory / STORE_FILE
    if path.exists():
        with closing(opened(path)) as file, named_faults(path):
            file.execute("DELETE FROM rejections WHERE stage = ?", (stage,))


def _spending(file: sqlite3.Connection, path: Path) -> list[Spending]:
    with named_faults(path):
        return [Spending(*row) for row in file.execute(_SPENDING).fetchall()]


def _again(error: StoreFailed | RecipeError) -> StoreFailed | RecipeError:
    """The same error for one more: each has a traceback of its own."""
    return type(error)(*error.args)


def _reply(
    text: str, finish_reason: str, refusal: str | None, prompt_tokens: int, completion_tokens: int, known: int
) -> Reply:
    usage = Usage(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens) if known else None
    return Reply(text, finish_reason, usage, refusal)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
