"""Removes what has been kept for as long as the operator wants it kept, a little at a time."""

import asyncio
import logging
import time
from pathlib import Path
from typing import Final

from sqlalchemy import Column, ColumnElement, delete, select

from serve.ledger.database import Database, DatabaseAway
from serve.ledger.spool import remove_bad
from serve.ledger.tables import CONTENTS, INTERACTIONS
from serve.options.ledger import LedgerSettings

_log = logging.getLogger(__name__)
_EVERY_S: Final = 600.0
_AGAIN_S: Final = 30.0
_DAY_S: Final = 86_400
_AT_ONCE: Final = 1000


class Retention:
    """What goes, and when."""

    def __init__(self, directory: Path, database: Database, settings: LedgerSettings) -> None:
        self._directory = directory
        self._database = database
        self._settings = settings

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            try:
                await self.sweep(time.time())
                wait_s = _EVERY_S
            except (DatabaseAway, OSError):  # the shipper tells of it
                wait_s = _AGAIN_S
            await asyncio.sleep(wait_s)

    async def sweep(self, now: float) -> None:
        """Remove everything whose time is over by then, unix time; raises DatabaseAway, OSError."""
        removed = {"contents": await self._remove(CONTENTS.c.interaction_id, CONTENTS.c.expires_at <= now)}
        if (days := self._settings.keep_days) is not None:
            over = INTERACTIONS.c.at <= now - days * _DAY_S
            removed["interactions"] = await self._remove(INTERACTIONS.c.id, over)
        if self._settings.content:
            # A line that is no row may hold what was said all the same.
            before = now - self._settings.content_days * _DAY_S
            removed["bad_files"] = await asyncio.to_thread(remove_bad, self._directory, before)
        if any(removed.values()):
            _log.info("ledger_swept", extra={"fields": removed})

    async def _remove(self, key: Column[str], over: ColumnElement[bool]) -> int:
        """In transactions that are short: gateways write meanwhile."""
        removed = 0
        while True:
            chosen = select(key).where(over).limit(_AT_ONCE)
            async with self._database.begin() as connection:
                count = (await connection.execute(delete(key.table).where(key.in_(chosen)))).rowcount
            removed += count
            if count < _AT_ONCE:
                return removed
