"""A gateway with a script: real HTTP on a real port, bodies and events written out by hand.

What was asked is in `history`; what is answered is queued, byte for byte.
"""

import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """One HTTP response."""

    body: bytes
    status: int = 200
    content_type: str = "application/json"


def plain(body: Json, status: int = 200) -> Answer:
    return Answer(json.dumps(body).encode(), status)


def streamed(*events: Json, done: bool = True) -> Answer:
    """Server-sent events; without `done` the connection just ends, as when a gateway dies."""
    lines = [f"data: {json.dumps(event)}\n\n" for event in events]
    return Answer(
        "".join([*lines, *(["data: [DONE]\n\n"] if done else [])]).encode(), 200, "text/event-stream"
    )


@dataclass
class ScriptedGateway:
    """Hands out its answers in order."""

    url: str = ""
    answers: deque[Answer] = field(default_factory=deque)
    history: list[Json] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)

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
            gateway.keys.append(self.headers.get("authorization"))
            answer = gateway.answers.popleft()
            self.send_response(answer.status)
            self.send_header("content-type", answer.content_type)
            self.end_headers()
            self.wfile.write(answer.body)

    return Responder
