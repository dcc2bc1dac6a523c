"""The audit's database, SQLite or PostgreSQL: every use is one transaction on tables that are there.

It may be away for as long as it likes: that is one error, `DatabaseAway`, and whoever uses it tries again.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from alembic.util import CommandError
from sqlalchemy import URL, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    ProgrammingError,
    SQLAlchemyError,
    StatementError,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from serve.ledger.migrate import upgrade
from serve.settings import Settings, SettingsError

SQLITE_FILE: Final = "groundrule.db"
"""In state_dir, where no other database is named."""
_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
}
_CONNECT_S = 5
_STATEMENT_S = 60
# SQLSTATE classes that find fault with the values: data exception, integrity constraint violation.
_FAULTS_OF_ROWS = ("22", "23")


class DatabaseAway(Exception):
    """It cannot be reached, or will not work now. The message holds neither values nor passwords."""


class RowsRefused(Exception):
    """The database works, and refuses these values."""


class Database:
    """Connections to one database."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        url = engine.url
        self._file = Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None
        self._migrating = asyncio.Lock()
        self._is_migrated = False

    @property
    def was_made(self) -> bool:
        """Whether it may hold anything: a file that does not exist does not."""
        return self._file is None or self._file.exists()

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """One transaction; raises DatabaseAway and RowsRefused.

        Whoever comes first migrates: a gateway also starts while its database is away."""
        await self.migrate()
        async with self._transaction() as connection:
            yield connection

    async def migrate(self) -> None:
        """Bring the tables up to date, once in a process's life."""
        async with self._migrating:
            if self._is_migrated:
                return
            try:
                if self._file:
                    _make_private(self._file)
                async with self._transaction() as connection:
                    await connection.run_sync(upgrade)
            except OSError as error:
                raise DatabaseAway(_told(error)) from error
            except CommandError as error:
                raise DatabaseAway(f"it cannot be migrated; was it by a newer gateway? {error}") from error
            self._is_migrated = True

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with asyncio.timeout(_STATEMENT_S), self._engine.begin() as connection:
                yield connection
        # Drivers let errors of values pass that arise before anything is sent.
        except (SQLAlchemyError, OSError, ValueError, OverflowError) as error:
            if _blames_rows(error):
                raise RowsRefused(_told(error)) from error
            raise DatabaseAway(_told(error)) from error


@asynccontextmanager
async def open_database(url: URL) -> AsyncIterator[Database]:
    """Nothing is reached yet, and on SQLite no file made. All connections are closed at the end."""
    engine = _new_engine(url)
    try:
        yield Database(engine)
    finally:
        await engine.dispose()


def database_url(settings: Settings) -> URL:
    """Where the audit and the keys are; raises SettingsError for a database that is neither of the two."""
    secret = settings.ledger.url
    if secret is None:
        return URL.create("sqlite+aiosqlite", database=str(settings.state_dir / SQLITE_FILE))
    try:
        url = make_url(secret.get_secret_value())
    except ArgumentError:
        raise SettingsError("ledger.url: no URL; write postgresql://user:password@host/database") from None
    if url.drivername not in _DRIVERS:
        raise SettingsError(f"ledger.url: {url.drivername} is not known here; use postgresql or sqlite")
    if url.drivername.startswith("sqlite") and not url.database:
        raise SettingsError("ledger.url: a database in memory would be lost; name a file")
    # What libpq, and with it everybody's documentation, calls sslmode is ssl to the driver.
    query = {{"sslmode": "ssl"}.get(name, name): value for name, value in url.query.items()}
    return url.set(drivername=_DRIVERS[url.drivername], query=query)


def _new_engine(url: URL) -> AsyncEngine:
    options: dict[str, Any] = {"hide_parameters": True, "pool_pre_ping": True, "pool_size": 2}
    if url.get_backend_name() == "postgresql":
        timeouts = {"timeout": _CONNECT_S, "command_timeout": _STATEMENT_S}
        return create_async_engine(url, connect_args=timeouts, **options)
    engine = create_async_engine(url, **options)
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "begin", lambda c: c.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine


def _make_private(file: Path) -> None:
    """For its owner alone; what SQLite puts beside it gets the same rights."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    file.touch(mode=0o600)


def _prepare_sqlite(connection: DBAPIConnection, _: object) -> None:
    """Transactions are begun here and not by the driver, so that each has the write lock from its start:
    one that reads first could not wait for another writer, and changes of tables would stand outside."""
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        "busy_timeout = 10000",
        "journal_mode = WAL",
        # What is committed outlives a power cut: the spool's copy is removed right after.
        "synchronous = FULL",
        "foreign_keys = ON",
        # Content whose days are over is overwritten.
        "secure_delete = ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _blames_rows(error: Exception) -> bool:
    if not isinstance(error, DBAPIError):
        return isinstance(error, StatementError | ValueError | OverflowError)
    if isinstance(error, DataError | IntegrityError):
        return True
    if state := getattr(error.orig, "sqlstate", None):
        return bool(state.startswith(_FAULTS_OF_ROWS))
    # The driver itself, of a value that it cannot send; or its connection is gone.
    return isinstance(error, InterfaceError | ProgrammingError) and not error.connection_invalidated


def _told(error: Exception) -> str:
    """Names and codes alone: a driver's own words may quote values, and so may a statement."""
    cause: BaseException = error.orig if isinstance(error, DBAPIError) and error.orig else error
    cause = cause.__cause__ or cause
    words = [type(cause).__name__, getattr(cause, "sqlstate", None), getattr(cause, "sqlite_errorname", None)]
    if isinstance(cause, OSError):
        words.append(cause.strerror)
    return " ".join(filter(None, words))
