"""The composed gateway as an operator starts it to enforce: words that are forbidden, and every default.

Callers speak to it by both APIs, plain and streamed; the engine behind it writes whatever a test wants.
"""

import http.client
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from serve.gate.wording import REPLACED, WITHHELD
from tests.fakes.raw_engine import RawEngine
from tests.serve.gateways import ALIAS, Gateway, running_gateway, settings_for

Json = dict[str, Any]

FORBIDDEN = "FORBIDDEN-WORD"
ADDRESS = "user@example.com"
GUARD: Json = {"kind": "patterns", "name": "words", "patterns": [FORBIDDEN, r"user@example\.com"]}
STEPS = "[visual] The picture shows a cat.\n[textual] The request asks what it shows.\n"
TRACE = f"<think>\n{STEPS}Verdict: comply\n</think>\n"
ANSWER = "A cat sits on a sofa."
_LONGEST_S = 600.0
"""A CPU may need minutes for the reply of a real model."""
PATHS = {"chat": "/v1/chat/completions", "responses": "/v1/responses"}
ASKED = [{"role": "user", "content": "What is this?"}]
WAYS = [(api, stream) for api in PATHS for stream in (False, True)]
"""How a caller may ask."""


@contextmanager
def guarded_gateway(bundle: Path, **changes: Any) -> Iterator[Gateway]:
    """Enforces, until the context is left."""
    with RawEngine().running() as engine:
        settings = settings_for(engine, bundle, **({"gate": {}, "guards": [GUARD]} | changes))
        with running_gateway(settings, engine) as gateway:
            yield gateway


@dataclass
class Told:
    """What a caller was told."""

    status: int
    raw: str
    reasoning: str = ""
    answer: str = ""
    refusal: str = ""
    error: str | None = None
    """Its code: of a status, or of a stream's last event."""

    @property
    def is_withheld(self) -> bool:
        return (self.status, self.refusal) == (200, WITHHELD)

    @property
    def is_replaced(self) -> bool:
        return (self.status, self.refusal) == (200, REPLACED)

    def holds(self, word: str) -> bool:
        """Anywhere, or across the pieces of a stream."""
        return any(word in text for text in (self.raw, self.reasoning, self.answer, self.refusal))


def tell(gateway: Gateway, api: str = "chat", stream: bool = False, **fields: Any) -> Told:
    """Ask, and read the whole answer."""
    question = {"input": "What is this?"} if api == "responses" else {"messages": ASKED}
    body = {"model": ALIAS, **question, **fields, "stream": stream}
    told = _answered(gateway, PATHS[api], body)
    for one in _events(told.raw) if stream and told.status == 200 else [json.loads(told.raw)]:
        if one.get("error"):
            told.error = one["error"]["code"]
        elif api == "chat":
            _read_chat(told, one)
        else:
            _read_responses(told, one)
    return told


def _answered(gateway: Gateway, path: str, body: Json) -> Told:
    with closing(http.client.HTTPConnection(urlsplit(gateway.url).netloc, timeout=_LONGEST_S)) as caller:
        caller.request("POST", path, json.dumps(body))
        answer = caller.getresponse()
        return Told(answer.status, answer.read().decode("ascii"))


def _events(text: str) -> Iterator[Json]:
    for line in text.splitlines():
        if line.startswith("data: ") and line != "data: [DONE]":
            yield json.loads(line.removeprefix("data: "))


def _read_chat(told: Told, one: Json) -> None:
    for choice in one["choices"]:
        said = choice.get("delta") or choice.get("message") or {}
        assert said.get("reasoning") == said.get("reasoning_content")
        told.reasoning += said.get("reasoning") or ""
        told.answer += said.get("content") or ""
        told.refusal += said.get("refusal") or ""


def _read_responses(told: Told, one: Json) -> None:
    match one.get("type"):
        case "response.reasoning_text.delta":
            told.reasoning += one["delta"]
        case "response.output_text.delta":
            told.answer += one["delta"]
        case "response.refusal.delta":
            told.refusal += one["delta"]
        case None:
            for part in (part for item in one["output"] for part in item.get("content") or ()):
                told.reasoning += part["text"] if part["type"] == "reasoning_text" else ""
                told.answer += part["text"] if part["type"] == "output_text" else ""
                told.refusal += part.get("refusal") or ""
