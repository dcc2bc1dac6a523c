"""A gateway with a script: real HTTP on a real port, bodies and events written out by hand.

What was asked is in `history`; what is answered is queued, byte for byte.
"""

import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """One HTTP response."""

    body: bytes
    status: int = 200
    content_type: str = "application/json"
    encoding: str | None = None
    """What `transfer-encoding` says of the body, which is written out as it is."""
    stays: bool = False
    """Behind the body the connection stays open until the caller leaves."""
    silent: bool = False
    """Nothing is answered at all until the caller leaves."""


def plain(body: Json, status: int = 200) -> Answer:
    return Answer(json.dumps(body).encode(), status)


def streamed(*events: Json, done: bool = True) -> Answer:
    """Server-sent events; without `done` the connection just ends, as when a gateway dies."""
    lines = [f"data: {json.dumps(event)}\n\n" for event in events]
    return Answer(
        "".join([*lines, *(["data: [DONE]\n\n"] if done else [])]).encode(), 200, "text/event-stream"
    )


def cut(answer: Answer) -> Answer:
    """The same in a chunked body, whose last chunk never comes."""
    body = b"%x\r\n%b\r\n" % (len(answer.body), answer.body)
    return replace(answer, body=body, encoding="chunked")


@dataclass
class ScriptedGateway:
    """Hands out its answers in order."""

    url: str = ""
    answers: deque[Answer] = field(default_factory=deque)
    history: list[Json] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    """Of every request, by their names in lower case."""
    left: threading.Event = field(default_factory=threading.Event)
    """A caller has closed a connection that stayed open."""

    def enqueue(self, *answers: Answer) -> None:
        self.answers.extend(answers)

    @contextmanager
    def running(self) -> Iterator["ScriptedGateway"]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _responder(self))
        self.url = f"http://127.0.0.1:{server.server_port}/v1"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join(10)


def _responder(gateway: ScriptedGateway) -> type[BaseHTTPRequestHandler]:
    class Responder(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            self._answer(json.loads(self.rfile.read(int(self.headers["content-length"]))))

        def log_message(self, *_: object) -> None:
            """Tests read `history` instead."""

        def _answer(self, body: Json) -> None:
            gateway.history.append({"path": self.path, **body})
            gateway.headers.append({name.lower(): value for name, value in self.headers.items()})
            answer = gateway.answers.popleft()
            if not answer.silent:
                self._write(answer)
            if answer.stays or answer.silent:
                with suppress(ConnectionError):
                    self.rfile.read(1)
                gateway.left.set()

        def _write(self, answer: Answer) -> None:
            self.send_response(answer.status)
            self.send_header("content-type", answer.content_type)
            if answer.encoding:
                self.send_header("transfer-encoding", answer.encoding)
            self.end_headers()
            self.wfile.write(answer.body)

    return Responder
