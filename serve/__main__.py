"""python -m serve [--config gateway.toml]: run the gateway until SIGTERM or Ctrl-C.

Exit codes: 0 stopped, 1 the engine could not start, 2 wrong settings, bundle or port (before any start).
"""

import argparse
import errno
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import uvicorn

from policies.catalog import CatalogError, load_catalog
from serve.adapters.refused import AdapterRefused
from serve.adapters.registry import build_registry
from serve.app import create_app
from serve.engine.launch import Launcher
from serve.observe.log import configure_logging
from serve.settings import Settings, SettingsError, load_settings

_log = logging.getLogger("serve")
# Longer than clients keep idle connections (httpx: 5 s), so that theirs is the side that closes.
_KEEP_ALIVE_S = 30


class AddressTaken(Exception):
    """Somebody else listens there."""


def main(arguments: Sequence[str] | None = None, launcher: Launcher | None = None) -> int:
    """Check everything that can be checked, then serve."""
    parser = argparse.ArgumentParser(prog="python -m serve", description=__doc__)
    parser.add_argument("--config", type=Path, help="default: gateway.toml, if there is one")
    try:
        return serve(load_settings(parser.parse_args(arguments).config), launcher)
    except (SettingsError, AddressTaken, AdapterRefused, CatalogError) as error:
        sys.stderr.write(f"groundrule: {error}\n")
        return 2


def serve(settings: Settings, launcher: Launcher | None = None) -> int:
    """Run a gateway until it is told to stop."""
    catalog = load_catalog(settings.policies)
    registry = build_registry(settings, catalog)
    # Taken before the engine starts, so that a second gateway costs nothing and ends at once.
    listener = _listen(settings.host, settings.port)
    fatal: list[str] = []

    def on_fatal(message: str) -> None:
        fatal.append(message)
        server.should_exit = True

    configure_logging()
    app = create_app(settings, registry, catalog, on_fatal, launcher)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=settings.drain_timeout_s,
        )
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        # The server stops gracefully and then raises the signal again: here, and this process ends with 0.
        signal.signal(number, lambda *_: setattr(server, "should_exit", True))
    _log.info("listening", extra={"fields": {"url": _url(listener), "pid": os.getpid()}})
    server.run(sockets=[listener])
    for message in fatal:
        sys.stderr.write(f"groundrule: {message}\n")
    return 1 if fatal else 0


def _listen(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        # Only listening makes the port ours; until then another process may bind it too.
        listener.listen(2048)
    except OSError as error:
        listener.close()
        taken = error.errno == errno.EADDRINUSE
        why = "the port is taken; set GROUNDRULE_PORT" if taken else os.strerror(error.errno or 0)
        raise AddressTaken(f"cannot listen on {host}:{port}: {why}") from error
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


if __name__ == "__main__":
    raise SystemExit(main())
