"""Claims about `python -m serve keys …` and `migrate`, said as an operator says them, on both databases."""

import argparse
import asyncio
import hashlib
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Executable, text, update

from serve.commands import add_commands, run_command
from serve.door.caller import Scope
from serve.door.keys import KeyRing, KeyStoreAway, StoredKey, digest_of, key_id_of
from serve.gate.values import Mode
from serve.ledger.database import database_url as async_url
from serve.ledger.database import open_database
from serve.ledger.keys import open_key_store
from serve.ledger.tables import KEYS
from serve.settings import Settings
from tests.serve.audit_rows import audit_settings
from tests.serve.databases import fetch

Command = Callable[..., str]


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    return audit_settings(tmp_path, database_url)


@pytest.fixture
def command(settings: Settings, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run one, expect this exit code, and return what it printed (and complained about)."""

    def command(*words: str, code: int = 0) -> str:
        parser = argparse.ArgumentParser()
        add_commands(parser)
        assert run_command(parser.parse_args(words), settings) == code
        printed = capsys.readouterr()
        return printed.out.strip() if code == 0 else printed.err

    return command


def stored(settings: Settings) -> dict[str, StoredKey]:
    """What gateways read."""

    async def read() -> dict[str, StoredKey]:
        async with open_key_store(settings) as store:
            return {key.name: key for key in await store.all()}

    return asyncio.run(read())


def test_a_key_is_shown_once_and_only_its_digest_is_kept(
    command: Command, settings: Settings, database_url: str
) -> None:
    key = command("keys", "add", "ada")
    assert re.fullmatch(r"gr-[A-Za-z0-9_-]{43}", key)
    assert stored(settings)["ada"].digest == hashlib.sha256(key.encode()).digest()
    assert key not in str(asyncio.run(fetch(database_url, "SELECT * FROM keys")))
    listed = command("keys", "list")
    assert key not in listed
    assert key_id_of(digest_of(key)) in listed


def test_what_a_key_may_do_is_what_was_said(command: Command, settings: Settings) -> None:
    words = ["--scope", "chat", "--scope", "moderations", "--model", "base", "--mode", "stricter"]
    command("keys", "add", "ada", *words, "--rate", "60", "--in-flight", "4", "--expires", "90d")
    key = stored(settings)["ada"]
    assert key.scopes == {Scope.CHAT, Scope.MODERATIONS}
    assert (key.models, key.mode) == (frozenset({"base"}), Mode.STRICTER)
    limits = key.allowance
    assert (limits.requests_per_minute, limits.tokens_per_minute, limits.in_flight) == (60, None, 4)
    assert key.expires_at == pytest.approx(time.time() + 90 * 86_400, abs=120)
    command("keys", "add", "everything")
    free = stored(settings)["everything"]
    assert (free.scopes, free.models, free.mode, free.expires_at) == (frozenset(Scope), None, None, None)


def test_a_revoked_key_opens_nothing_and_stays_listed(command: Command, settings: Settings) -> None:
    key = command("keys", "add", "ada")
    other = command("keys", "add", "bob")
    ring = KeyRing(has_store=True)
    _refresh(ring, settings)
    assert ring.find(digest_of(key))
    assert key_id_of(digest_of(key)) in command("keys", "revoke", "ada")
    command("keys", "revoke", key_id_of(digest_of(other)))
    _refresh(ring, settings)
    assert ring.find(digest_of(key)) is None
    assert not ring.is_open
    assert command("keys", "list").count("revoked") == 2
    assert "no key in force" in command("keys", "revoke", "ada", code=1)


def _refresh(ring: KeyRing, settings: Settings) -> None:
    async def refresh() -> None:
        async with open_key_store(settings) as store:
            await ring.refresh(store)

    asyncio.run(refresh())


def test_two_keys_in_force_never_have_one_name(command: Command, settings: Settings) -> None:
    command("keys", "add", "ada")
    assert "revoke it first" in command("keys", "add", "ada", code=1)
    command("keys", "revoke", "ada")
    command("keys", "add", "ada")
    assert not stored(settings)["ada"].revoked


@pytest.mark.parametrize("written", [{"scopes": ["everything"]}, {"digest": "no digest"}], ids=str)
def test_a_key_that_another_version_wrote_opens_nothing(
    command: Command, settings: Settings, written: dict[str, Any]
) -> None:
    command("keys", "add", "ada")
    _change(settings, update(KEYS).values(written))
    other = command("keys", "add", "bob")
    assert stored(settings)["ada"].revoked
    assert stored(settings)["bob"].digest == digest_of(other)
    assert "ada" in command("keys", "list")


def _change(settings: Settings, change: Executable) -> None:
    async def run() -> None:
        async with open_database(async_url(settings)) as database, database.begin() as connection:
            await connection.execute(change)

    asyncio.run(run())


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_table_that_cannot_be_read_is_away_and_not_empty(command: Command, settings: Settings) -> None:
    command("keys", "add", "ada")
    _change(settings, text("UPDATE keys SET scopes = 'no JSON'"))
    with pytest.raises(KeyStoreAway):
        stored(settings)
    assert "the database" in command("keys", "list", code=1)


def test_a_file_that_cannot_be_looked_at_is_away_and_not_empty(tmp_path: Path) -> None:
    with pytest.raises(KeyStoreAway, match="too long"):
        stored(audit_settings(tmp_path, f"sqlite:///{tmp_path / ('x' * 300)}"))


def test_migrate_makes_the_tables_and_may_be_repeated(command: Command, database_url: str) -> None:
    assert command("migrate") == command("migrate")
    assert asyncio.run(fetch(database_url, "SELECT count(*) AS n FROM interactions")) == [{"n": 0}]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_asking_for_keys_makes_no_database(command: Command, tmp_path: Path) -> None:
    command("keys", "list")
    command("keys", "revoke", "ada", code=1)
    assert not (tmp_path / "audit.db").exists()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_database_that_cannot_be_read_is_never_taken_for_one_without_keys(
    command: Command, settings: Settings, tmp_path: Path
) -> None:
    command("keys", "add", "ada")
    (tmp_path / "audit.db").write_bytes(b"no database" * 1000)
    with pytest.raises(KeyStoreAway):
        stored(settings)
    assert "the database" in command("keys", "list", code=1)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "words", ["--rate 0", "--expires 90", "--scope everything", "--mode none", "--tokens x"]
)
def test_a_wish_that_is_not_understood_makes_no_key(command: Command, words: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as refused:
        command("keys", "add", "ada", *words.split())
    assert refused.value.code == 2
    assert not (tmp_path / "audit.db").exists()
