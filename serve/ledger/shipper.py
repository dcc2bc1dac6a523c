"""Moves audit rows from the spool into the database: each exactly once, whatever breaks meanwhile.

A segment is removed after its rows were committed, and a row that is there already is passed over; so a
shipper may be stopped, killed or cut off at any moment, and begins the segment again.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.ledger.database import Database, DatabaseAway, RowsRefused
from serve.ledger.rows import Row, Values, read_rows
from serve.ledger.spool import backlog, claimed, keep_bad, segments
from serve.ledger.tables import CONTENTS, INTERACTIONS
from serve.observe.metrics import Metrics

_log = logging.getLogger(__name__)
_EVERY_S: Final = 1.0
_LONGEST_WAIT_S: Final = 30.0
# The event loop has replies to stream between two statements.
_AT_ONCE: Final = 200


class Shipper:
    """The one that ships a directory; a second one would do no harm, and find every segment taken."""

    def __init__(self, directory: Path, database: Database, metrics: Metrics) -> None:
        self._directory = directory
        self._database = database
        self._metrics = metrics
        self._away_since: float | None = None

    async def run(self) -> None:
        """Ship until cancelled; while the database is away, try again ever more seldom."""
        wait_s = _EVERY_S
        while True:
            try:
                await self.ship()
                wait_s = _EVERY_S
            # A disk that cannot be read is as good a reason to wait as a database that is away.
            except (DatabaseAway, OSError) as error:
                self._note_away(error)
                wait_s = min(wait_s * 2, _LONGEST_WAIT_S)
            await asyncio.sleep(wait_s)

    async def ship(self) -> None:
        """Everything that nobody is writing to any more; raises DatabaseAway, OSError."""
        try:
            for segment in await asyncio.to_thread(segments, self._directory):
                with claimed(segment) as file:
                    if file is not None:
                        await self._ship_segment(segment, file.read())
        finally:
            left = await asyncio.to_thread(backlog, self._directory)
            self._metrics.spooled_bytes.set(left.bytes)
        self._note_back()

    async def finish(self, patience_s: float) -> None:
        """Ship what there is, at the end of the process; what is left is shipped by the next one."""
        try:
            async with asyncio.timeout(patience_s):
                await self.ship()
        except (DatabaseAway, OSError) as error:
            left = backlog(self._directory)
            fields = {"error": str(error), "segments": left.segments, "bytes": left.bytes}
            _log.warning("ledger_rows_left_for_next_start", extra={"fields": fields})

    async def _ship_segment(self, segment: Path, content: bytes) -> None:
        rows, unread = await asyncio.to_thread(read_rows, content.splitlines(keepends=True))
        refused: list[bytes] = []
        try:
            await self._insert(rows)
        except RowsRefused:
            refused = await self._insert_one_by_one(rows)
        if bad := unread + refused:
            await asyncio.to_thread(keep_bad, segment, bad)
            _log.error("ledger_rows_bad", extra={"fields": {"segment": segment.name, "rows": len(bad)}})
        segment.unlink()
        self._metrics.ledger_rows.labels("shipped").inc(len(rows) - len(refused))
        self._metrics.ledger_rows.labels("bad").inc(len(bad))

    async def _insert_one_by_one(self, rows: Sequence[Row]) -> list[bytes]:
        """Insert those that the database takes; the lines of the others."""
        refused: list[bytes] = []
        for row in rows:
            try:
                await self._insert([row])
            except RowsRefused as error:
                refused.append(row.line)
                _log.error("ledger_row_refused", extra={"fields": {"error": str(error)}})
        return refused

    async def _insert(self, rows: Sequence[Row]) -> None:
        if not rows:
            return
        async with self._database.begin() as connection:
            await _add(connection, INTERACTIONS, [row.interaction for row in rows])
            await _add(connection, CONTENTS, [row.content for row in rows if row.content])

    def _note_away(self, error: Exception) -> None:
        if self._away_since is None:
            self._away_since = time.monotonic()
            _log.error("ledger_away", extra={"fields": {"error": str(error)}})

    def _note_back(self) -> None:
        if self._away_since is not None:
            seconds = round(time.monotonic() - self._away_since, 1)
            self._away_since = None
            _log.info("ledger_back", extra={"fields": {"away_s": seconds}})


async def _add(connection: AsyncConnection, table: Table, rows: Sequence[Values]) -> None:
    """Straight to the driver: what SQLAlchemy does for each value would be done on the event loop, and cost
    more than the rest of the way together."""
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    statement = str(insert(table).on_conflict_do_nothing().compile(dialect=connection.dialect))
    for begin in range(0, len(rows), _AT_ONCE):
        await connection.exec_driver_sql(statement, list(rows[begin : begin + _AT_ONCE]))
