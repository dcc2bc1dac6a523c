"""What an operator does beside running the gateway: `keys add|list|revoke` and `migrate`.

A key is printed once, when it is made; only its digest is kept. Running gateways take changes over within
seconds. Exit codes: 0 done, 1 not possible now, 2 wrong arguments or settings.
"""

import argparse
import asyncio
import re
import sys
import time
from datetime import UTC, datetime
from typing import Final

from serve.door.caller import Allowance, Scope
from serve.door.keys import KeyStoreAway, StoredKey, digest_of, key_id_of, new_key
from serve.gate.values import Mode
from serve.ledger.database import DatabaseAway, RowsRefused, database_url, open_database
from serve.ledger.keys import NameTaken, open_key_store
from serve.settings import Settings

_SPAN: Final = re.compile(r"([1-9][0-9]{0,5})([hdw])")
_SECONDS: Final = {"h": 3600, "d": 86_400, "w": 604_800}
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


def add_commands(parser: argparse.ArgumentParser) -> None:
    """The commands, below the program's own arguments; without one the gateway runs."""
    commands = parser.add_subparsers(dest="command", title="commands")
    commands.add_parser("migrate", help="bring the database's tables up to date, before gateways start")
    keys = commands.add_parser("keys", help="who may ask").add_subparsers(dest="keys_command", required=True)
    _add_arguments(keys.add_parser("add", help="make a key and print it, once"))
    keys.add_parser("list", help="every key, by name and id; never the key itself")
    revoke = keys.add_parser("revoke", help="let a key open nothing any more")
    revoke.add_argument("name", help="its name or id")


def _add_arguments(add: argparse.ArgumentParser) -> None:
    add.add_argument("name", type=_name, help="whose it is; in the log and the audit as an id only")
    add.add_argument(
        "--scope", action="append", type=Scope, choices=list(Scope), help="a part of the API; default: all"
    )
    add.add_argument("--model", action="append", help="an alias it may use; default: all")
    add.add_argument("--rate", type=_positive, metavar="N", help="requests per minute")
    add.add_argument("--tokens", type=_positive, metavar="N", help="tokens per minute")
    add.add_argument("--in-flight", type=_positive, metavar="N", help="requests at the same time")
    add.add_argument("--expires", type=_span, metavar="SPAN", help="such as 12h, 90d or 4w")
    modes = [mode.name.lower() for mode in Mode]
    add.add_argument("--mode", choices=modes, help="in place of the gateway's, even if it is laxer")


def run_command(arguments: argparse.Namespace, settings: Settings) -> int:
    """Do what was asked for; returns the exit code. Raises SettingsError."""
    work = {
        "migrate": _migrate,
        "add": _add,
        "list": _list,
        "revoke": _revoke,
    }[arguments.keys_command if arguments.command == "keys" else arguments.command]
    try:
        return asyncio.run(work(arguments, settings))
    except (DatabaseAway, KeyStoreAway, RowsRefused, OSError) as error:
        return _fail(f"the database: {error}")


async def _migrate(_: argparse.Namespace, settings: Settings) -> int:
    async with open_database(database_url(settings)) as database:
        await database.migrate()
    _print("the tables are up to date")
    return 0


async def _add(arguments: argparse.Namespace, settings: Settings) -> int:
    key = new_key()
    stored = StoredKey(
        digest=digest_of(key),
        name=arguments.name,
        scopes=frozenset(arguments.scope or Scope),
        models=frozenset(arguments.model) if arguments.model else None,
        allowance=Allowance(arguments.rate, arguments.tokens, arguments.in_flight),
        mode=Mode[arguments.mode.upper()] if arguments.mode else None,
        expires_at=time.time() + arguments.expires if arguments.expires else None,
    )
    async with open_key_store(settings) as store:
        try:
            await store.add(stored)
        except NameTaken:
            return _fail(f"a key in force has the name {arguments.name}; revoke it first, or choose another")
    sys.stderr.write(f"{stored.name} ({key_id_of(stored.digest)}); this is the only time the key is shown:\n")
    _print(key)
    return 0


async def _list(_: argparse.Namespace, settings: Settings) -> int:
    async with open_key_store(settings) as store:
        keys = await store.all()
    rows = [("ID", "NAME", "STATE", "SCOPES", "MODELS", "LIMITS", "MODE", "EXPIRES"), *map(_row, keys)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        _print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


async def _revoke(arguments: argparse.Namespace, settings: Settings) -> int:
    async with open_key_store(settings) as store:
        revoked = await store.revoke(arguments.name)
    if revoked is None:
        return _fail(f"no key in force has the name or id {arguments.name}; `keys list` shows them all")
    _print(f"{revoked} is revoked; running gateways know within seconds")
    return 0


def _row(key: StoredKey) -> tuple[str, ...]:
    allowed = key.allowance
    limits = {
        "req/min": allowed.requests_per_minute,
        "tok/min": allowed.tokens_per_minute,
        "in flight": allowed.in_flight,
    }
    return (
        key_id_of(key.digest),
        key.name,
        _state(key),
        "all" if key.scopes == frozenset(Scope) else ",".join(sorted(key.scopes)),
        "all" if key.models is None else ",".join(sorted(key.models)),
        ", ".join(f"{value} {unit}" for unit, value in limits.items() if value is not None) or "none",
        "gateway's" if key.mode is None else key.mode.name.lower(),
        _moment(key.expires_at),
    )


def _state(key: StoredKey) -> str:
    if key.revoked:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= time.time() else "in force"


def _moment(at: float | None) -> str:
    return "never" if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="minutes")


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise argparse.ArgumentTypeError("letters, digits and . _ @ -, at most 64")
    return value


def _positive(value: str) -> int:
    if not value.isdecimal() or not 0 < int(value) < 2**31:
        raise argparse.ArgumentTypeError("a number from 1 on")
    return int(value)


def _span(value: str) -> int:
    """Seconds."""
    if not (match := _SPAN.fullmatch(value)):
        raise argparse.ArgumentTypeError("a number of hours, days or weeks: 12h, 90d, 4w")
    return int(match[1]) * _SECONDS[match[2]]


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _fail(message: str) -> int:
    sys.stderr.write(f"groundrule: {message}\n")
    return 1
