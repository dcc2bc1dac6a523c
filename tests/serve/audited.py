"""Gateways whose audit and metrics are read as an operator reads them, and whose callers have keys."""

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx

from serve.door.keys import StoredKey, digest_of, new_key
from serve.ledger.keys import open_key_store
from serve.settings import Settings
from tests.serve.gateways import eventually

Json = dict[str, Any]


def added_keys(settings: Settings, **fields: Json) -> dict[str, str]:
    """A key in the table for each name, before the gateway starts; `fields` are `StoredKey`'s."""
    keys = {name: new_key() for name in fields}

    async def add() -> None:
        async with open_key_store(settings) as store:
            for name, key in keys.items():
                await store.add(StoredKey(digest_of(key), name, **fields[name]))

    asyncio.run(add())
    return keys


def headers_of(key: str, request_id: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}", "x-request-id": request_id}


def measured(client: httpx.Client) -> dict[str, float]:
    """Every series as it is now. One client for many looks: opening one costs more than a request."""
    lines = client.get("/metrics").text.splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def errors_in(metrics: dict[str, float]) -> dict[str, float]:
    """What was told to callers as one, by code."""
    label = 'groundrule_errors_total{code="'
    return {
        name[len(label) : -2]: value for name, value in metrics.items() if value and name.startswith(label)
    }


def audit(state_dir: Path, request_id: str | None = None) -> list[Json]:
    """The rows (of that request), wherever they are by now: in the spool, in the SQLite database, or both."""
    rows = {row["id"]: row for row in (*_spooled(state_dir), *_kept(state_dir))}
    return [row for row in rows.values() if request_id in (None, row["request_id"])]


def only_row(state_dir: Path, request_id: str) -> Json:
    """The one row of that request, as soon as it is there."""
    eventually(lambda: audit(state_dir, request_id))
    (row,) = audit(state_dir, request_id)
    return row


def json_of(value: Any) -> Any:
    """A column of it: SQLite has it as text, the spool as it is."""
    return json.loads(value) if isinstance(value, str) else value


def _spooled(state_dir: Path) -> Iterator[Json]:
    for segment in sorted((state_dir / "spool").glob("*.jsonl")):
        with suppress(FileNotFoundError):  # shipped just now, so that the database has it
            # What stands behind the last newline is just being written.
            yield from map(json.loads, segment.read_text().split("\n")[:-1])


def _kept(state_dir: Path) -> Iterator[Json]:
    file = state_dir / "groundrule.db"
    if not file.exists():
        return
    with closing(sqlite3.connect(file)) as database:
        database.row_factory = sqlite3.Row
        yield from map(dict, database.execute("SELECT * FROM interactions").fetchall())
