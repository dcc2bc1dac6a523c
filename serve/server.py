"""How every process of a gateway listens and speaks HTTP."""

import asyncio
import errno
import os
import resource
import socket
from functools import partial
from typing import Final, cast

import uvicorn
from starlette.types import ASGIApp

from serve.connection import Connection, Room
from serve.options.door import LimitSettings
from serve.settings import Settings, SettingsError

_BACKLOG: Final = 2048
_OWN_FILES: Final = 64
"""Listener, log, spool, database and whatever else is open whoever calls."""
_FILES_PER_REQUEST: Final = 2
"""To an engine, and to a guard or a picture's host."""


class AddressTaken(Exception):
    """Somebody else listens there."""


def server_config(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    """For a server of `serve.drain`. Raises SettingsError where this process may open too few files."""
    tls, limits = settings.tls, settings.limits
    connection = partial(Connection, limits, Room(_places(limits)))
    return uvicorn.Config(
        app,
        http=cast(type[asyncio.Protocol], connection),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=limits.keep_alive_s,
        ssl_certfile=tls.certificate,
        ssl_keyfile=tls.key,
    )


def _places(limits: LimitSettings) -> int:
    """How many connections fit beside our own files, of which as many as needed are made possible."""
    own = _OWN_FILES + _FILES_PER_REQUEST * limits.in_flight
    wanted = own + limits.connections
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        wanted = soft
    if wanted <= own:
        raise SettingsError(
            f"limits.in_flight: {limits.in_flight} requests need {own} open files and more for connections,"
            f" and the system allows {soft}: raise its limit (ulimit -n), or lower the setting"
        )
    return wanted - own


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; raises AddressTaken."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        # Only listening makes the port ours; until then another process may bind it too.
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        taken = error.errno == errno.EADDRINUSE
        why = "the port is taken; set GROUNDRULE_PORT" if taken else os.strerror(error.errno or 0)
        raise AddressTaken(f"cannot listen on {host}:{port}: {why}") from error
    return listener


def url_of(listener: socket.socket, settings: Settings) -> str:
    """Where it can be reached."""
    scheme = "https" if settings.tls.certificate else "http"
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
