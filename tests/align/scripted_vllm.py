"""A scripted vLLM: its chat completions with `prompt_logprobs`, in the wire form of 0.32, without a model.

Tokens are words with the blank before them, single signs, and two bytes of a character apart; a word that is
in `seen` is unlikely unless the conversation has a picture that is not plain grey.
"""

import base64
import io
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image

LIKELY, UNLIKELY = -0.25, -2.25
_TOKEN = re.compile(r" ?\w+|\.\n|\s|[^\w\s]")


@dataclass
class ScriptedVllm:
    """What it was asked, and what it answers in place of the truth."""

    seen: frozenset[str] = frozenset()
    """Words whose likelihood needs the picture."""
    faults: dict[str, Any] = field(default_factory=dict)
    """By a word of the reply: the log-probability that it gets, or "drop", "refuse", "lose"."""
    opening: str = ""
    """What the template puts before a reply that is given, but not before one to come."""
    roots: dict[str, str] = field(default_factory=dict)
    """Where each model's weights lie, as its list of models tells."""
    asked: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""

    @contextmanager
    def running(self) -> "Iterator[ScriptedVllm]":
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                scripted.asked.append(body)
                self._send(*scripted.answer(body))

            def do_GET(self) -> None:
                cards = [{"id": name, "root": root} for name, root in scripted.roots.items()]
                self._send(200, {"object": "list", "data": cards})

            def _send(self, status: int, answer: dict[str, Any]) -> None:
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_port}/v1"
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def answer(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        prompt = "".join(self._rendered(body))
        if "refuse" in self._faults_in(prompt):
            return 400, {"error": {"message": "the prompt is too long", "code": 400}}
        sees = any(_is_picture_of_something(url) for url in _pictures(body))
        places: list[Any] = [self._place(piece, sees) for piece in _pieces(prompt)]
        told: Any = None if "drop" in self._faults_in(prompt) else [None, *places[1:]]
        message = {"role": "assistant", "content": "x"}
        return 200, {"choices": [{"index": 0, "message": message}], "prompt_logprobs": told}

    def _rendered(self, body: dict[str, Any]) -> Iterator[str]:
        for message in body["messages"]:
            parts = message["content"]
            given = message["role"] == "assistant"
            text = parts if isinstance(parts, str) else "".join(part.get("text", "<image>") for part in parts)
            if "lose" in self._faults_in(text):
                text = text[:-1]
            yield f"<{message['role']}>\n{self.opening if given else ''}{text}"
            yield "" if given else "<end>\n"
        if body.get("add_generation_prompt"):
            yield "<assistant>\n"

    def _faults_in(self, text: str) -> list[Any]:
        return [fault for word, fault in self.faults.items() if word in text]

    def _place(self, piece: str, sees: bool) -> dict[str, Any]:
        word = piece.strip()
        number = self.faults.get(word, UNLIKELY if word in self.seen and not sees else LIKELY)
        return {str(len(piece)): {"logprob": number, "rank": 1, "decoded_token": piece}}


def _pieces(text: str) -> Iterator[str]:
    for piece in _TOKEN.findall(text):
        if not piece.isascii() and not piece.strip().isalpha():
            yield ""  # the first bytes of a character that the next token completes
        yield piece


def _pictures(body: dict[str, Any]) -> Iterator[str]:
    for message in body["messages"]:
        if isinstance(message["content"], list):
            yield from (part["image_url"]["url"] for part in message["content"] if "image_url" in part)


def _is_picture_of_something(url: str) -> bool:
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as picture:
        extremes = picture.convert("RGB").getextrema()
    return len({level for band in extremes for level in band}) > 1
