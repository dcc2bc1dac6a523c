"""The keys that operators add and revoke while gateways run, in the audit's database."""

import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from sqlalchemy import insert, select, update

from serve.door.caller import Allowance, Scope
from serve.door.keys import KeyStoreAway, StoredKey, key_id_of
from serve.gate.values import Mode
from serve.ledger.database import Database, DatabaseAway, RowsRefused, database_url, open_database
from serve.ledger.tables import KEYS
from serve.settings import Settings

_log = logging.getLogger(__name__)
_NOBODYS: Final = b""
"""No key has this digest."""


class NameTaken(Exception):
    """A key in force has that name."""


class SqlKeyStore:
    """The table of keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> Sequence[StoredKey]:
        """Every key ever added; raises KeyStoreAway. It makes no database where there is none."""
        try:
            if not self._database.was_made:
                return ()
            async with self._database.begin() as connection:
                rows = (await connection.execute(select(KEYS).order_by(KEYS.c.created_at))).mappings().all()
        except (DatabaseAway, RowsRefused) as error:
            raise KeyStoreAway(str(error)) from error
        except OSError as error:
            raise KeyStoreAway(f"its file cannot be looked at: {error.strerror}") from error
        return [_stored(dict(row)) for row in rows]

    async def add(self, key: StoredKey) -> None:
        """Raises NameTaken, DatabaseAway."""
        row = {
            "digest": key.digest.hex(),
            "key_id": key_id_of(key.digest),
            "name": key.name,
            "scopes": sorted(key.scopes),
            "models": None if key.models is None else sorted(key.models),
            "requests_per_minute": key.allowance.requests_per_minute,
            "tokens_per_minute": key.allowance.tokens_per_minute,
            "in_flight": key.allowance.in_flight,
            "mode": None if key.mode is None else key.mode.name.lower(),
            "expires_at": key.expires_at,
            "created_at": time.time(),
        }
        in_force = (KEYS.c.name == key.name) & KEYS.c.revoked_at.is_(None)
        async with self._database.begin() as connection:
            if (await connection.execute(select(KEYS.c.digest).where(in_force))).first():
                raise NameTaken(key.name)
            await connection.execute(insert(KEYS).values(**row))

    async def revoke(self, name: str) -> str | None:
        """Revoke the key in force with that name or id. Its id, or None if there is no such key.

        Raises DatabaseAway."""
        if not self._database.was_made:
            return None
        named = ((KEYS.c.name == name) | (KEYS.c.key_id == name)) & KEYS.c.revoked_at.is_(None)
        revoking = update(KEYS).where(named).values(revoked_at=time.time()).returning(KEYS.c.key_id)
        async with self._database.begin() as connection:
            key_id: str | None = (await connection.execute(revoking)).scalar()
        return key_id


@asynccontextmanager
async def open_key_store(settings: Settings) -> AsyncIterator[SqlKeyStore]:
    """The keys of a gateway with these settings; nothing is reached yet."""
    async with open_database(database_url(settings)) as database:
        yield SqlKeyStore(database)


def _stored(row: dict[str, Any]) -> StoredKey:
    digest = _NOBODYS
    try:
        digest = bytes.fromhex(row["digest"])
        return StoredKey(
            digest=digest,
            name=row["name"],
            scopes=frozenset(map(Scope, row["scopes"])),
            models=None if row["models"] is None else frozenset(row["models"]),
            allowance=Allowance(row["requests_per_minute"], row["tokens_per_minute"], row["in_flight"]),
            mode=None if row["mode"] is None else Mode[row["mode"].upper()],
            expires_at=row["expires_at"],
            revoked=row["revoked_at"] is not None,
        )
    except (ValueError, KeyError, TypeError) as error:
        # Written by another version: what it may is not known here, so it may nothing.
        fields = {"key": row["key_id"], "error": str(error)}
        _log.error("key_not_understood", extra={"fields": fields})
        return StoredKey(digest, row["name"], revoked=True)
