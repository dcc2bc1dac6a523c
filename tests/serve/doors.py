"""Doors for the wire tests: parts of `serve.door` in front of a small application, on a real port."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from prometheus_client import CollectorRegistry
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.api.errors import ErrorAnswers
from serve.errors import GatewayError
from serve.observe.metrics import Metrics
from serve.observe.requests import RequestLog
from tests.serve.gateways import PATIENCE_S


@contextmanager
def running_app(app: ASGIApp, host: str = "127.0.0.1") -> Iterator[str]:
    """The URL of an application that listens until the context is left."""
    listener = socket.create_server((host, 0))
    server = uvicorn.Server(
        uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield f"http://{host}:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)


def answering_errors(app: ASGIApp) -> ASGIApp:
    """The application within what every request of the gateway passes first: its log and its errors."""
    answers = ErrorAnswers(new_metrics())
    return RequestLog(ExceptionMiddleware(app, handlers={GatewayError: answers.on_error}))


def new_metrics() -> Metrics:
    return Metrics(CollectorRegistry())


async def read_body(receive: Receive) -> bytes:
    """The whole body, as an endpoint would read it."""
    body = b""
    while True:
        message = await receive()
        assert message["type"] == "http.request", "the caller left"
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return body


async def answer(send: Send, content: object) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(content).encode()})


def code_of(body: bytes) -> str:
    """The code of an error that was answered."""
    code: str = json.loads(body)["error"]["code"]
    return code


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that answers everybody alike."""
    await answer(send, "hello")
