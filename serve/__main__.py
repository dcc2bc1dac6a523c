"""python -m serve [--config gateway.toml] [keys … | migrate]: run the gateway until SIGTERM or Ctrl-C.

Exit codes: 0 stopped, 1 the engine could not start, 2 wrong settings, bundle or port (before any start).
"""

import argparse
import asyncio
import logging
import os
import socket
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from policies.catalog import Catalog, CatalogError, load_catalog
from serve.adapters.refused import AdapterRefused
from serve.adapters.registry import Registry, build_registry
from serve.answer import command_for
from serve.app import create_app
from serve.commands import add_commands, run_command
from serve.door.keys import KeyStoreAway
from serve.drain import Drain, DrainingServer
from serve.engine.launch import Launcher, free_port, launch_vllm
from serve.gate.guard import GuardRefused
from serve.gate.panel import check_guards
from serve.keeper import keep
from serve.ledger.audit import check_ledger
from serve.ledger.keys import open_key_store
from serve.observe.log import configure_logging
from serve.server import AddressTaken, listen, server_config, url_of
from serve.settings import ENV_PREFIX, Settings, SettingsError, load_settings

_log = logging.getLogger("serve")
_REFUSED = (SettingsError, AddressTaken, AdapterRefused, CatalogError, GuardRefused)


def main(arguments: Sequence[str] | None = None, launcher: Launcher | None = None) -> int:
    """Check everything that can be checked, then serve."""
    parser = argparse.ArgumentParser(prog="python -m serve", description=__doc__)
    parser.add_argument("--config", type=Path, help="default: gateway.toml, if there is one")
    add_commands(parser)
    given = parser.parse_args(arguments)
    try:
        settings = load_settings(given.config)
        return run_command(given, settings) if given.command else serve(settings, launcher, given.config)
    except _REFUSED as error:
        sys.stderr.write(f"groundrule: {error}\n")
        return 2


def serve(settings: Settings, launcher: Launcher | None = None, config: Path | None = None) -> int:
    """Run a gateway until it is told to stop. `config`: where its workers, if several, read the settings."""
    catalog = load_catalog(settings.policies)
    registry = build_registry(settings, catalog)
    check_guards(settings.guards, catalog)
    _check_judge(settings, registry)
    check_ledger(settings)
    asyncio.run(_check_not_open(settings))
    # Taken before the engine starts, so that a second gateway costs nothing and ends at once.
    listener = listen(settings.host, settings.port)
    configure_logging()
    fields = {"url": url_of(listener, settings), "pid": os.getpid()}
    _log.info("listening", extra={"fields": fields})
    if settings.workers > 1:
        code, fatal = _keep(settings, registry, listener, launcher, config)
    else:
        code, fatal = _answer(settings, registry, catalog, listener, launcher)
    for message in fatal:
        sys.stderr.write(f"groundrule: {message}\n")
    return code


def _check_judge(settings: Settings, registry: Registry) -> None:
    alias = settings.guardrail.alias
    if alias is not None and alias not in registry.aliases:
        known = ", ".join(registry.aliases)
        raise SettingsError(f"guardrail.alias: there is no model {alias!r}; there are {known}")


async def _check_not_open(settings: Settings) -> None:
    """Raises SettingsError where others than this machine could call, and nobody has a key.

    A table that is away may hold some. Until it is back, nobody is let in; the log tells of it then.
    """
    if settings.is_local or settings.key_digests():
        return
    async with open_key_store(settings) as store:
        try:
            keys = await store.all()
        except KeyStoreAway:
            return
    if not keys:
        raise SettingsError(
            f"host {settings.host!r} is open to the network: make a key (python -m serve keys add),"
            f" set {ENV_PREFIX}API_KEYS, or bind 127.0.0.1"
        )


def _answer(
    settings: Settings,
    registry: Registry,
    catalog: Catalog,
    listener: socket.socket,
    launcher: Launcher | None,
) -> tuple[int, list[str]]:
    """In this process."""
    fatal: list[str] = []

    def on_fatal(message: str) -> None:
        fatal.append(message)
        server.should_exit = True

    drain = Drain(settings.drain_grace_s, settings.drain_timeout_s)
    app = create_app(settings, registry, catalog, on_fatal, launcher, drain=drain)
    server = DrainingServer(server_config(app, settings), drain)
    server.run(sockets=[listener])
    return (1 if fatal else 0), fatal


def _keep(
    settings: Settings,
    registry: Registry,
    listener: socket.socket,
    launcher: Launcher | None,
    config: Path | None,
) -> tuple[int, list[str]]:
    """In several, which this one looks after."""
    engine_url = None
    if embedded := settings.engine.embedded:
        # One port for all its lives, since the workers know it from the start.
        port = free_port()
        engine_url = f"http://127.0.0.1:{port}"
        launcher = partial(launch_vllm, embedded, settings.limits.images_per_request, port)
    return keep(settings, registry, listener, partial(command_for, config), launcher, engine_url)


if __name__ == "__main__":
    raise SystemExit(main())
