"""The audit of a running gateway: rows go into the spool while requests are answered, and on from there.

With one process that answers, it also ships and removes; with several, the keeper does (`open_shipping`).
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from serve.errors import LedgerFull
from serve.ledger.database import database_url, open_database
from serve.ledger.interaction import Interaction, Ledger, NoLedger
from serve.ledger.retention import Retention
from serve.ledger.rows import line_of
from serve.ledger.shipper import Shipper
from serve.ledger.spool import Spool, backlog, prepare, probe
from serve.observe.metrics import Metrics
from serve.options.ledger import LedgerSettings
from serve.settings import Settings, SettingsError

_log = logging.getLogger(__name__)
_TURN_S: Final = 1.0
_LAST_SHIPPING_S: Final = 5.0
_MIB: Final = 1024 * 1024
# While that many wait, segments are let go by size alone: a database that is away for a day must not
# leave a file for each of its seconds.
_MANY_SEGMENTS: Final = 64


class SpooledLedger:
    """A ledger whose rows are on disk when `write` returns."""

    def __init__(self, directory: Path, worker: int, settings: LedgerSettings, metrics: Metrics) -> None:
        self._directory = directory
        self._spool = Spool(directory, worker)
        self._settings = settings
        self._metrics = metrics
        self._content_days = settings.content_days if settings.content else None
        self._most_bytes = settings.most_spooled_mib * _MIB
        self._spooled_bytes = 0
        self._is_broken = False

    def write(self, interaction: Interaction) -> None:
        """One write to the page cache. Never raises: a row that cannot be kept is counted and logged."""
        if self._settings.on_full == "drop" and self._spooled_bytes >= self._most_bytes:
            self._drop(interaction, "ledger.most_spooled_mib is reached")
            return
        try:
            line = line_of(interaction, self._content_days)
            self._spool.write(line)
        except OSError as error:
            self._is_broken = True
            self._drop(interaction, error.strerror or type(error).__name__)
        except (TypeError, ValueError, RecursionError) as error:
            self._drop(interaction, type(error).__name__)
        else:
            self._spooled_bytes += len(line)
            self._metrics.ledger_rows.labels("written").inc()

    def check_room(self) -> None:
        """Raises LedgerFull where requests are not to be answered without a row, and none can be kept."""
        if self._settings.on_full == "drop":
            return
        if self._is_broken or self._spooled_bytes >= self._most_bytes:
            raise LedgerFull("no audit row can be kept at present, and no request is answered without one")

    async def run(self) -> None:
        """Let segments go every second, and look whether there is room again; until cancelled."""
        while True:
            await asyncio.sleep(_TURN_S)
            try:
                waiting = await asyncio.to_thread(backlog, self._directory)
                self._spooled_bytes = waiting.bytes
                if waiting.segments < _MANY_SEGMENTS:
                    self._spool.turn()
                if self._is_broken:
                    await asyncio.to_thread(probe, self._directory)
                    self._is_broken = False
                    _log.info("ledger_writes_again")
            except OSError as error:
                self._note_broken(error)

    def close(self) -> None:
        """Let the last segment go."""
        with contextlib.suppress(OSError):  # what was written is there; the lock ends with the process
            self._spool.turn()

    def _drop(self, interaction: Interaction, why: str) -> None:
        self._metrics.ledger_rows.labels("dropped").inc()
        fields = {"request_id": interaction.request_id, "id": interaction.id, "error": why}
        _log.error("ledger_row_dropped", extra={"fields": fields})

    def _note_broken(self, error: OSError) -> None:
        if not self._is_broken:
            self._is_broken = True
            _log.error("ledger_spool_broken", extra={"fields": {"error": error.strerror}})


def check_ledger(settings: Settings) -> None:
    """See, before anything is started, that rows can be kept; raises SettingsError."""
    if not settings.ledger.enabled:
        return
    database_url(settings)
    directory = spool_directory(settings)
    try:
        prepare(directory)
    except OSError as error:
        raise SettingsError(
            f"state_dir: cannot write {directory}: {error.strerror}; name another one, "
            "or do without an audit (ledger.enabled = false)"
        ) from error


def spool_directory(settings: Settings) -> Path:
    """Where rows wait for the database."""
    return settings.state_dir / "spool"


@asynccontextmanager
async def open_ledger(settings: Settings, metrics: Metrics, worker: int = 0) -> AsyncIterator[Ledger]:
    """The ledger of one process that answers. Raises SettingsError where rows cannot be kept.

    At the end all rows are on disk, and, unless there is a keeper, in the database if that is there."""
    if not settings.ledger.enabled:
        yield NoLedger()
        return
    check_ledger(settings)
    shipping = open_shipping(settings, metrics) if settings.workers == 1 else contextlib.nullcontext()
    ledger = SpooledLedger(spool_directory(settings), worker, settings.ledger, metrics)
    async with shipping:
        try:
            async with _running(ledger.run()):
                yield ledger
        finally:
            ledger.close()


@asynccontextmanager
async def open_shipping(settings: Settings, metrics: Metrics) -> AsyncIterator[None]:
    """Rows of all processes go into the database for as long as the context lasts, and old ones go."""
    if not settings.ledger.enabled:
        yield
        return
    check_ledger(settings)
    directory = spool_directory(settings)
    async with open_database(database_url(settings)) as database:
        shipper = Shipper(directory, database, metrics)
        retention = Retention(directory, database, settings.ledger)
        try:
            async with _running(shipper.run(), retention.run()):
                yield
        finally:
            await shipper.finish(_LAST_SHIPPING_S)


@asynccontextmanager
async def _running(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Tasks that last as long as the context. One that ends by itself has met a bug: it is told and begun
    no more, and the rows stay where they are."""
    tasks = [asyncio.create_task(one) for one in work]
    for task in tasks:
        task.add_done_callback(_tell_the_end)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _tell_the_end(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        _log.error("ledger_failed", exc_info=error)
