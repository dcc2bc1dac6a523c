"""Fixtures of the client's tests: a scripted gateway, and wire bodies as the gateway writes them."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from groundrule import Groundrule

from tests.clients.scripted_gateway import ScriptedGateway

SAFETY: dict[str, Any] = {
    "verdict": "refuse",
    "action": "none",
    "policies": ["P19"],
    "citations": [
        {"clause": "P19.D2", "title": "Weapons of mass harm", "valid": True},
        {"clause": "P99.D1", "title": None, "valid": False},
    ],
    "steps": [
        {"text": "The picture shows a bomb.", "source": "visual", "citations": []},
        {"text": "Making it harms people.", "source": "visual+textual", "citations": ["P19.D2", "P99.D1"]},
    ],
    "sources": {"visual": 1, "textual": 0, "visual+textual": 1, "untagged": 0},
    "flags": ["invalid_clause"],
    "policy_digest": "d" * 64,
    "adapter": "pst@0123456789ab",
}
ANSWER = "I can't help with making a bomb."
USAGE = {"prompt_tokens": 30, "completion_tokens": 12, "total_tokens": 42}


@pytest.fixture(autouse=True)
def _no_configuration_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OPENAI_")]:
        monkeypatch.delenv(name)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def gateway() -> Iterator[ScriptedGateway]:
    with ScriptedGateway().running() as gateway:
        yield gateway


@pytest.fixture
def client(gateway: ScriptedGateway) -> Iterator[Groundrule]:
    with Groundrule(gateway.url, max_retries=0) as client:
        yield client


def body(safety: dict[str, Any] | None = SAFETY, **message: Any) -> dict[str, Any]:
    """A plain answer."""
    fields = {"role": "assistant", "content": ANSWER, "refusal": None, "reasoning": "[visual] …"} | message
    if safety is not None:
        fields["safety"] = safety
    choice = {"index": 0, "message": fields, "finish_reason": "stop", "logprobs": None}
    return {**_head("chat.completion"), "choices": [choice], "usage": USAGE}


def chunk(finish_reason: str | None = None, **delta: Any) -> dict[str, Any]:
    """One event of a streamed answer."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {**_head("chat.completion.chunk"), "choices": [choice]}


def usage_chunk() -> dict[str, Any]:
    return {**_head("chat.completion.chunk"), "choices": [], "usage": USAGE}


def reply_events() -> list[dict[str, Any]]:
    """A whole reply in events, in the order in which the gateway sends them."""
    first, second = SAFETY["steps"]
    return [
        chunk(role="assistant", content=""),
        chunk(reasoning="[visual] The pic", reasoning_content="[visual] The pic"),
        chunk(reasoning="ture shows a bomb.\n", reasoning_content="ture shows a bomb.\n"),
        chunk(safety={"step": first}),
        chunk(safety={"step": second}),
        chunk(safety={"verdict": "refuse"}),
        chunk(content="I can't help with "),
        chunk(content="making a bomb."),
        chunk("stop", safety=SAFETY),
        usage_chunk(),
    ]


def _head(kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": "groundrule"}
