"""Claims about rows on their way to the database: none is lost, none arrives twice, whatever breaks."""

import asyncio
import json
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from serve.errors import LedgerFull
from serve.ledger.audit import open_ledger, spool_directory
from serve.ledger.database import database_url as async_url
from serve.ledger.database import open_database
from serve.ledger.interaction import Ledger
from serve.ledger.rows import line_of
from serve.ledger.shipper import Shipper
from serve.ledger.spool import Spool, backlog, prepare, segments
from serve.settings import Settings
from tests.serve.audit_rows import audit_settings, interaction, new_metrics, rows_counted
from tests.serve.databases import fetch
from tests.serve.programs import ROOT

pytestmark = pytest.mark.anyio

# A gateway that is killed as soon as it has answered; its database is away.
KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from serve.ledger.audit import open_ledger
from tests.serve.audit_rows import AWAY, audit_settings, interaction, new_metrics
async def main():
    async with open_ledger(audit_settings(Path(sys.argv[1]), AWAY), new_metrics()) as ledger:
        for number in range(3):
            ledger.write(interaction(number))
        os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """A file system without room for a file larger than that."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@asynccontextmanager
async def shipper_of(settings: Settings) -> AsyncIterator[Shipper]:
    prepare(spool_directory(settings))
    async with open_database(async_url(settings)) as database:
        yield Shipper(spool_directory(settings), database, new_metrics())


async def ids(url: str) -> list[str]:
    return [row["id"] for row in await fetch(url, "SELECT id FROM interactions ORDER BY id")]


async def until(claim: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not claim():
            await asyncio.sleep(0.05)


async def test_a_row_written_is_there_after_sigkill(tmp_path: Path, database_url: str) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    killed = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    async with open_ledger(audit_settings(tmp_path, database_url), new_metrics()):
        pass
    assert await ids(database_url) == ["i_0", "i_1", "i_2"]


async def test_rows_survive_a_database_that_is_away_and_arrive_once(
    tmp_path: Path, database_url: str, request: pytest.FixtureRequest
) -> None:
    settings, metrics = audit_settings(tmp_path, database_url), new_metrics()
    away, back = _plug(database_url, request)
    async with open_ledger(settings, metrics) as ledger:
        ledger.write(interaction(1))
        await until(lambda: rows_counted(metrics, "shipped") == 1)
        await asyncio.to_thread(away)
        ledger.write(interaction(2))
        await asyncio.sleep(3)
        ledger.write(interaction(3))
        ledger.check_room()
        assert rows_counted(metrics, "shipped") == 1
        assert backlog(spool_directory(settings)).bytes > 0
        await asyncio.to_thread(back)
        await until(lambda: rows_counted(metrics, "shipped") == 3)
    assert await ids(database_url) == ["i_1", "i_2", "i_3"]
    assert segments(spool_directory(settings)) == []


def _plug(url: str, request: pytest.FixtureRequest) -> tuple[Callable[[], None], Callable[[], None]]:
    """How to take the database away, and how to bring it back."""
    if url.startswith("postgresql"):
        server = request.getfixturevalue("postgres")
        return server.stop, server.start
    # A file cannot go while it is open; somebody else can have it for himself.
    other = sqlite3.connect(url.removeprefix("sqlite:///"), check_same_thread=False)

    def away() -> None:
        other.execute("BEGIN EXCLUSIVE")

    def back() -> None:
        other.rollback()
        other.close()

    return away, back


async def test_a_shipper_cut_off_between_commit_and_removal_ships_nothing_twice(
    tmp_path: Path, database_url: str
) -> None:
    settings = audit_settings(tmp_path, database_url)
    async with shipper_of(settings) as shipper:
        _spool(settings, 1, 2)
        (segment,) = segments(spool_directory(settings))
        shutil.copy(segment, tmp_path / "copy")
        await shipper.ship()
        shutil.move(tmp_path / "copy", segment)
        _spool(settings, 3)
        await shipper.ship()
    assert await ids(database_url) == ["i_1", "i_2", "i_3"]


async def test_two_shippers_of_one_directory_ship_each_row_once(tmp_path: Path, database_url: str) -> None:
    settings = audit_settings(tmp_path, database_url)
    async with shipper_of(settings) as one, shipper_of(settings) as other:
        for number in range(10):
            _spool(settings, number)
        await asyncio.gather(one.ship(), other.ship())
    assert len(await ids(database_url)) == 10
    assert segments(spool_directory(settings)) == []


def _spool(settings: Settings, *numbers: int) -> None:
    spool = Spool(spool_directory(settings), worker=0)
    for number in numbers:
        spool.write(line_of(interaction(number), None))
    spool.turn()


async def test_a_segment_that_is_written_to_is_left_alone(tmp_path: Path, database_url: str) -> None:
    settings = audit_settings(tmp_path, database_url)
    async with shipper_of(settings) as shipper:
        spool = Spool(spool_directory(settings), worker=0)
        spool.write(line_of(interaction(1), None))
        await shipper.ship()
        assert len(segments(spool_directory(settings))) == 1
        spool.write(line_of(interaction(2), None))
        spool.turn()
        await shipper.ship()
    assert await ids(database_url) == ["i_1", "i_2"]


async def test_a_line_that_is_no_row_is_kept_apart_and_holds_up_nothing(
    tmp_path: Path, database_url: str
) -> None:
    settings = audit_settings(tmp_path, database_url)
    torn = line_of(interaction(3), None)[:40]
    async with shipper_of(settings) as shipper:
        _spool(settings, 1)
        (segment,) = segments(spool_directory(settings))
        with segment.open("ab") as file:
            file.write(b'{"id": "i_2", "unknown": 1}\n[]\n{"id": ["i_4"]}\n' + torn)
        await shipper.ship()
    assert await ids(database_url) == ["i_1"]
    (bad,) = spool_directory(settings).iterdir()
    assert torn in bad.read_bytes()
    assert len(bad.read_bytes().splitlines()) == 4


async def test_a_disk_without_room_refuses_requests_until_there_is_some_again(tmp_path: Path) -> None:
    settings = audit_settings(tmp_path, f"sqlite:///{tmp_path / 'audit.db'}")
    metrics = new_metrics()
    async with open_ledger(settings, metrics) as ledger:
        with largest_file(1500):
            ledger.write(interaction(1))
            ledger.write(interaction(2))
            assert rows_counted(metrics, "dropped") == 1
            with pytest.raises(LedgerFull):
                ledger.check_room()
        (segment,) = segments(spool_directory(settings))
        assert [json.loads(line)["id"] for line in segment.read_text().splitlines()] == ["i_1"]
        await until(lambda: has_room(ledger))
        ledger.write(interaction(3))
    assert await ids(f"sqlite:///{tmp_path / 'audit.db'}") == ["i_1", "i_3"]


def has_room(ledger: Ledger) -> bool:
    try:
        ledger.check_room()
    except LedgerFull:
        return False
    return True
