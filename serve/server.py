"""How every process of a gateway listens and speaks HTTP."""

import errno
import os
import socket

import uvicorn
from starlette.types import ASGIApp

from serve.settings import Settings

# Longer than clients keep idle connections (httpx: 5 s), so that theirs is the side that closes.
_KEEP_ALIVE_S = 30
_BACKLOG = 2048


class AddressTaken(Exception):
    """Somebody else listens there."""


def server_config(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    """For a server of `serve.drain`."""
    tls = settings.tls
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        ssl_certfile=tls.certificate,
        ssl_keyfile=tls.key,
    )


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
