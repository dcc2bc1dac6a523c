"""Claims about callers who would rather speak another protocol: they are answered in HTTP/1.1, and wholly."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from policies.catalog import load_catalog
from serve.adapters.registry import build_registry
from serve.app import create_app
from serve.server import listen, server_config, url_of
from tests.fakes.scripted_engine import ScriptedEngine
from tests.serve.gateways import PATIENCE_S, Gateway, ask, eventually, settings_for
from tests.serve.test_hard_connections import Caller

CHAT = "/v1/chat/completions"
WISHES = {
    "h2c": [
        "Connection: Upgrade, HTTP2-Settings",
        "Upgrade: h2c",
        "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAA",
    ],
    "websocket": ["Connection: upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"],
    "tls": ["Upgrade: TLS/1.0", "Connection: keep-alive", "Connection: Upgrade"],
}
QUESTION = json.dumps(ask("What is this? " * 100)).encode()


@pytest.fixture(scope="module")
def running(bundle: Path) -> Iterator[Gateway]:
    """Listens as the program does."""
    with ScriptedEngine().running() as engine:
        settings = settings_for(engine, bundle)
        catalog = load_catalog(settings.policies)
        app = create_app(settings, build_registry(settings, catalog), catalog, pytest.fail)
        listener = listen("127.0.0.1", 0)
        server = uvicorn.Server(server_config(app, settings))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        gateway = Gateway(url_of(listener, settings), engine)
        try:
            eventually(lambda: gateway.get("/readyz").status_code == 200)
            yield gateway
        finally:
            server.should_exit = True
            thread.join(PATIENCE_S)


@pytest.fixture
def caller(running: Gateway) -> Iterator[Caller]:
    running.engine.history.clear()
    caller = Caller(running.url)
    yield caller
    caller.close()


def head(wish: str, method: str = "POST", path: str = CHAT, *fields: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: x", *WISHES[wish], *fields]
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


def length(content: bytes) -> str:
    return f"Content-Length: {len(content)}"


@pytest.mark.parametrize("chunked", [False, True], ids=["measured", "chunked"])
@pytest.mark.parametrize("wish", WISHES)
def test_a_request_is_answered_whatever_protocol_its_caller_would_like(
    caller: Caller, running: Gateway, wish: str, chunked: bool
) -> None:
    if chunked:
        sent = head(wish, "POST", CHAT, "Transfer-Encoding: chunked")
        sent += b"%x\r\n%b\r\n0\r\n\r\n" % (len(QUESTION), QUESTION)
    else:
        sent = head(wish, "POST", CHAT, length(QUESTION)) + QUESTION
    caller.socket.sendall(sent)
    status, headers, body = caller.reply()
    assert (status, json.loads(body)["object"]) == (200, "chat.completion")
    assert "upgrade" not in headers
    assert caller.answers() == 200, "and so is the next one on this connection"
    (asked,) = running.engine.history
    assert asked.body["messages"] == ask("What is this? " * 100)["messages"]


@pytest.mark.parametrize("at", [10, -len(QUESTION) - 1, -len(QUESTION), -len(QUESTION) + 1, -1])
def test_a_request_may_come_in_two_pieces(caller: Caller, running: Gateway, at: int) -> None:
    sent = head("h2c", "POST", CHAT, length(QUESTION)) + QUESTION
    caller.socket.sendall(sent[:at])
    # The first piece was read once another connection has been answered.
    assert running.get("/healthz").status_code == 200
    caller.socket.sendall(sent[at:])
    assert caller.reply()[0] == 200
    assert caller.answers() == 200


def test_requests_may_follow_one_another_at_once(caller: Caller) -> None:
    caller.socket.sendall(
        head("h2c", "POST", CHAT, length(QUESTION))
        + QUESTION
        + head("websocket", "GET", "/healthz")
        + head("tls", "GET", "/nowhere")
    )
    assert [caller.reply()[0] for _ in range(3)] == [200, 200, 404]


def test_a_body_is_never_taken_for_the_next_request(caller: Caller, running: Gateway) -> None:
    smuggled = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n%b\r\n\r\n" % length(QUESTION).encode()
    smuggled += QUESTION
    caller.socket.sendall(head("h2c", "POST", CHAT, length(smuggled)) + smuggled)
    status, _, body = caller.reply()
    assert (status, json.loads(body)["error"]["code"]) == (400, "invalid_request")
    assert caller.answers() == 200, "nothing stands between the two"
    assert not running.engine.history


def test_a_websocket_is_opened_nowhere(caller: Caller) -> None:
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    for path, status in ((CHAT, 405), ("/v1/responses", 405), ("/v1/realtime", 404), ("/healthz", 200)):
        caller.socket.sendall(head("websocket", "GET", path, key))
        assert caller.reply()[0] == status


@pytest.mark.parametrize(
    "opening",
    [
        b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=["a tunnel", "HTTP/2"],
)
def test_what_is_no_http_1_1_is_told_so_and_closed(caller: Caller, opening: bytes) -> None:
    caller.socket.sendall(opening)
    status, headers, _ = caller.reply()
    assert (status, headers["connection"]) == (400, "close")
    assert caller.read() == b""


def test_a_caller_who_asks_to_be_let_go_as_well_is(caller: Caller) -> None:
    lines = ["GET /healthz HTTP/1.1", "Host: x", "Connection: Upgrade, close", "Upgrade: h2c"]
    caller.socket.sendall("".join(f"{line}\r\n" for line in (*lines, "")).encode())
    assert caller.reply()[0] == 200
    assert caller.read() == b""
