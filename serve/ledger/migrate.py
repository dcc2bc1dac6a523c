"""Brings the tables to the state that this version of the gateway knows.

However many gateways start at once: one of them does it, under a lock of the database's own.
"""

from typing import Final

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

# Any number will do; it must only be the same in all gateways.
_LOCK: Final = 0x67726F756E64


def upgrade(connection: Connection) -> None:
    """Within the connection's transaction, which on SQLite locks everybody else out by itself.

    Raises Alembic's CommandError where the database is at a revision that is not among ours."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    config = Config()
    config.set_main_option("script_location", "serve.ledger:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
