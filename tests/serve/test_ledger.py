"""Claims about the audit's tables, on SQLite and PostgreSQL: what is kept, and for how long."""

import asyncio
import json
import stat
import time
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from serve.errors import LedgerFull
from serve.ledger.audit import check_ledger, open_ledger, spool_directory
from serve.ledger.database import Database, DatabaseAway, open_database
from serve.ledger.database import database_url as async_url
from serve.ledger.interaction import Content, Interaction, NoLedger
from serve.ledger.retention import Retention
from serve.ledger.tables import METADATA
from serve.observe.metrics import Metrics
from serve.settings import Settings, SettingsError
from tests.serve.audit_rows import AWAY, audit_settings, interaction, new_metrics, rows_counted
from tests.serve.databases import fetch

pytestmark = pytest.mark.anyio
DAY_S = 86_400
ASKED = "what the caller asked"
ANSWERED = "what was answered"
CONTENT = Content({"messages": [{"role": "user", "content": ASKED}]}, (ANSWERED,))


async def keep(settings: Settings, *rows: Interaction, metrics: Metrics | None = None) -> None:
    """What a gateway does with them that is stopped right after."""
    async with open_ledger(settings, metrics or new_metrics()) as ledger:
        for row in rows:
            ledger.write(row)


async def test_a_row_says_who_asked_what_for_what_and_what_became_of_it(
    tmp_path: Path, database_url: str
) -> None:
    metrics = new_metrics()
    await keep(audit_settings(tmp_path, database_url), interaction(), metrics=metrics)
    (row,) = await fetch(database_url, "SELECT * FROM interactions")
    assert (row["id"], row["at"], row["key_id"]) == ("i_1", 1_800_000_000.25, "k_01234567")
    assert (row["adapter"], row["mode"], row["status"]) == ("pst@0123456789ab", "enforce", 200)
    assert (row["reasoning_tokens"], row["tokens_counted_by"]) == (None, "engine")
    (choice,) = _json(row["choices"])
    assert (choice["verdict"], choice["would"]) == ("refuse", "withheld")
    assert choice["clauses"] == ["P19.D1", "P19.R3"]
    assert choice["scanned"]["answer"] == {"generated": 80, "examined": 80, "released": 40}
    assert _json(row["guards"])[0]["status"] == "passed"
    assert _json(row["picture_digests"]) == ["b" * 64]
    assert (rows_counted(metrics, "written"), rows_counted(metrics, "shipped")) == (1, 1)


async def test_no_prompt_text_is_kept_unless_the_operator_wants_it(tmp_path: Path, database_url: str) -> None:
    without = audit_settings(tmp_path, database_url)
    await keep(without, interaction(1, content=CONTENT))
    assert await fetch(database_url, "SELECT * FROM contents") == []
    wanted = audit_settings(tmp_path, database_url, content=True)
    await keep(wanted, interaction(2, content=CONTENT))
    (row,) = await fetch(database_url, "SELECT * FROM contents")
    assert row["interaction_id"] == "i_2"
    assert _json(row["messages"])["messages"][0]["content"] == ASKED
    assert _json(row["replies"]) == [ANSWERED]


async def test_content_goes_when_its_days_are_over(tmp_path: Path, database_url: str) -> None:
    settings = audit_settings(tmp_path, database_url, content=True, content_days=30)
    now = time.time()
    await keep(
        settings,
        interaction(1, at=now - 31 * DAY_S, content=CONTENT),
        interaction(2, at=now - 29 * DAY_S, content=CONTENT),
    )
    async with open_database(async_url(settings)) as database:
        await Retention(spool_directory(settings), database, settings.ledger).sweep(now)
    kept = await fetch(database_url, "SELECT interaction_id FROM contents")
    assert [row["interaction_id"] for row in kept] == ["i_2"]
    assert len(await fetch(database_url, "SELECT id FROM interactions")) == 2


async def test_rows_are_kept_for_good_unless_the_operator_names_days(
    tmp_path: Path, database_url: str
) -> None:
    settings = audit_settings(tmp_path, database_url, content=True, content_days=400, keep_days=90)
    now = time.time()
    old = [interaction(n, at=now - 91 * DAY_S) for n in range(1050)]
    recent = interaction(2000, at=now - 89 * DAY_S, content=CONTENT)
    await keep(settings, interaction(1999, at=now - 91 * DAY_S, content=CONTENT), *old, recent)
    async with open_database(async_url(settings)) as database:
        forever = settings.ledger.model_copy(update={"keep_days": None})
        await Retention(spool_directory(settings), database, forever).sweep(now)
        assert len(await fetch(database_url, "SELECT id FROM interactions")) == 1052
        await Retention(spool_directory(settings), database, settings.ledger).sweep(now)
    assert [row["id"] for row in await fetch(database_url, "SELECT id FROM interactions")] == ["i_2000"]
    assert len(await fetch(database_url, "SELECT interaction_id FROM contents")) == 1


async def test_text_of_content_is_not_left_in_the_file_after_its_removal(tmp_path: Path) -> None:
    settings = audit_settings(tmp_path, f"sqlite:///{tmp_path / 'audit.db'}", content=True)
    now = time.time()
    await keep(settings, interaction(1, at=now - 31 * DAY_S, content=CONTENT))
    assert ANSWERED.encode() in (tmp_path / "audit.db").read_bytes()
    async with open_database(async_url(settings)) as database:
        await Retention(spool_directory(settings), database, settings.ledger).sweep(now)
    assert ANSWERED.encode() not in (tmp_path / "audit.db").read_bytes()


async def test_two_gateways_migrate_one_database_at_once(database_url: str, tmp_path: Path) -> None:
    url = async_url(audit_settings(tmp_path, database_url))

    async def migrate() -> None:
        async with open_database(url) as database:
            await database.migrate()

    await asyncio.gather(*(migrate() for _ in range(6)))
    assert await fetch(database_url, "SELECT version_num FROM alembic_version") == [{"version_num": "0001"}]


async def test_migrations_lead_to_the_tables_that_the_gateway_uses(database_url: str, tmp_path: Path) -> None:
    def differences(connection: Connection) -> list[Any]:
        return compare_metadata(MigrationContext.configure(connection), METADATA)

    async with (
        open_database(async_url(audit_settings(tmp_path, database_url))) as database,
        database.begin() as connection,
    ):
        assert await connection.run_sync(differences) == []


async def test_a_database_of_a_newer_gateway_is_left_alone_and_rows_wait(
    database_url: str, tmp_path: Path
) -> None:
    settings = audit_settings(tmp_path, database_url)
    await keep(settings, interaction(1))
    async with open_database(async_url(settings)) as database:
        await _set_revision(database, "9999")
        newer = Database(database._engine)
        with pytest.raises(DatabaseAway, match="newer gateway"):
            await newer.migrate()
        await keep(settings, interaction(2))
        assert len(await fetch(database_url, "SELECT id FROM interactions")) == 1
        await _set_revision(database, "0001")
    await keep(settings)
    assert len(await fetch(database_url, "SELECT id FROM interactions")) == 2


async def _set_revision(database: Database, revision: str) -> None:
    async with database.begin() as connection:
        await connection.execute(text(f"UPDATE alembic_version SET version_num = '{revision}'"))


async def test_what_no_database_can_store_holds_up_no_other_row(tmp_path: Path, database_url: str) -> None:
    metrics = new_metrics()
    settings = audit_settings(tmp_path, database_url)
    bad = interaction(2, status=2**70)
    await keep(settings, interaction(1), bad, interaction(3), metrics=metrics)
    kept = await fetch(database_url, "SELECT id FROM interactions ORDER BY id")
    assert [row["id"] for row in kept] == ["i_1", "i_3"]
    assert (rows_counted(metrics, "shipped"), rows_counted(metrics, "bad")) == (2, 1)
    (file,) = spool_directory(settings).iterdir()
    assert file.suffix == ".bad"
    assert json.loads(file.read_bytes())["id"] == "i_2"


async def test_strange_characters_are_kept_as_they_are(tmp_path: Path, database_url: str) -> None:
    strange = "lone \ud800, nothing \x00, line\r\n\u2028 end"
    settings = audit_settings(tmp_path, database_url, content=True)
    await keep(settings, interaction(1, content=Content({"text": strange}, (strange,))))
    (row,) = await fetch(database_url, "SELECT messages, replies FROM contents")
    assert (_json(row["messages"]), _json(row["replies"])) == ({"text": strange}, [strange])


async def test_audit_files_are_their_owners_alone(tmp_path: Path) -> None:
    settings = audit_settings(tmp_path, f"sqlite:///{tmp_path / 'deep' / 'audit.db'}")
    async with open_ledger(settings, new_metrics()) as ledger:
        ledger.write(interaction())
        (segment,) = spool_directory(settings).iterdir()
        assert stat.S_IMODE(segment.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "deep" / "audit.db").stat().st_mode) == 0o600
    assert stat.S_IMODE(settings.state_dir.stat().st_mode) == 0o700


async def test_without_an_audit_nothing_is_written_anywhere(tmp_path: Path) -> None:
    settings = audit_settings(tmp_path, f"sqlite:///{tmp_path / 'audit.db'}", enabled=False)
    async with open_ledger(settings, new_metrics()) as ledger:
        assert isinstance(ledger, NoLedger)
        ledger.write(interaction())
        ledger.check_room()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "says"),
    [("mysql://host/audit", "mysql is not known"), ("sqlite://", "in memory"), ("audit.db", "no URL")],
)
def test_a_database_that_is_none_stops_the_start_by_name(url: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=says) as refused:
        check_ledger(audit_settings(tmp_path, url))
    assert url not in str(refused.value)


def test_a_directory_that_cannot_be_written_stops_the_start_by_name(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file in its place")
    with pytest.raises(SettingsError, match="state_dir"):
        check_ledger(audit_settings(tmp_path, "sqlite:///unused.db"))


async def test_a_full_spool_refuses_requests_or_drops_rows_as_the_operator_wants(tmp_path: Path) -> None:
    large = interaction(content=Content({"text": "x" * 1_100_000}, ()))
    refusing = audit_settings(tmp_path / "a", AWAY, content=True, most_spooled_mib=1)
    dropping = audit_settings(tmp_path / "b", AWAY, content=True, most_spooled_mib=1, on_full="drop")
    async with open_ledger(refusing, new_metrics()) as ledger:
        ledger.check_room()
        ledger.write(large)
        with pytest.raises(LedgerFull):
            ledger.check_room()
    metrics = new_metrics()
    async with open_ledger(dropping, metrics) as ledger:
        ledger.write(large)
        ledger.write(interaction(2))
        ledger.check_room()
    assert (rows_counted(metrics, "written"), rows_counted(metrics, "dropped")) == (1, 1)


async def test_a_database_that_is_away_is_told_of_without_its_password(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = audit_settings(tmp_path, AWAY)
    with caplog.at_level("INFO"):
        await keep(settings, interaction())
    told = [record for record in caplog.records if record.getMessage() == "ledger_rows_left_for_next_start"]
    assert len(told) == 1
    assert "ConnectionRefusedError" in told[0].__dict__["fields"]["error"]
    assert "hidden-word" not in str([record.__dict__ for record in caplog.records])


def _json(value: Any) -> Any:
    """SQLite tells JSON as text to whoever asks without our tables; PostgreSQL's driver too."""
    return json.loads(value) if isinstance(value, str) else value
