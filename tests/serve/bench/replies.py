"""What a target said, in whichever fields: so that all are seen to do the same work."""

import json
from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True)
class Reply:
    """Plain or streamed."""

    status: int
    text: str
    """Reasoning and answer, with or without the tags between them."""
    finish: str | None
    raw: str


def read(response: httpx.Response) -> Reply:
    """Of a chat completion."""
    raw = response.text
    if not raw.startswith("data:") and "event-stream" not in response.headers.get("content-type", ""):
        body = response.json()
        choices = body.get("choices") or [{}]
        message = choices[0].get("message") or {}
        return Reply(response.status_code, _text(message), choices[0].get("finish_reason"), raw)
    reasoning, answer, finish = "", "", None
    for line in raw.splitlines():
        data = line.removeprefix("data: ")
        if not line.startswith("data:") or data == "[DONE]":
            continue
        for choice in json.loads(data).get("choices") or ():
            delta = choice.get("delta") or {}
            reasoning += _reasoning(delta)
            answer += delta.get("content") or ""
            finish = choice.get("finish_reason") or finish
    return Reply(response.status_code, f"{reasoning}\n{answer}", finish, raw)


def _text(message: dict[str, Any]) -> str:
    return f"{_reasoning(message)}\n{message.get('content') or ''}"


def _reasoning(delta: dict[str, Any]) -> str:
    return delta.get("reasoning") or delta.get("reasoning_content") or ""
