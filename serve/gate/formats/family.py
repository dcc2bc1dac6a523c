"""What a family of guard models is: what it is asked, and how its words are read. Nothing here speaks HTTP.

A guard reads text that somebody wrote to deceive it, and may repeat it. So a reply is a verdict only if all
of it is one: whatever else it holds, twice, in between or behind, makes it unreadable, and that is ruled by
the guard's `on_error`.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from serve.gate.values import Conversation, Excerpt, Stage

Json = dict[str, Any]
CHAT = "/v1/chat/completions"
TEXTS = frozenset({Stage.INPUT, Stage.REASONING, Stage.ANSWER})
PICTURES = frozenset({Stage.IMAGE})


class Unreadable(ValueError):
    """A reply that is no verdict, or more than one. The message never holds the reply."""


@dataclass(frozen=True, slots=True)
class GuardOptions:
    """What an operator says of one guard."""

    model: str | None
    policy: str
    """What it judges by, for families that are told."""
    threshold: float
    """From which probability on it blocks, for families that give one."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request to the guard's server."""

    path: str
    body: Json
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a guard says of an excerpt."""

    blocks: bool
    category: str | None = None
    """From the family's closed set; never words of the guard's own, for it may repeat the caller's."""


SAFE = Verdict(blocks=False)


class GuardFormat(Protocol):
    """One family."""

    name: str
    stages: frozenset[Stage]
    """What it can judge at all."""
    key_header: str
    """Which header its key goes into: authorization (as a bearer token) or another, as it is."""

    def ask(self, excerpt: Excerpt, about: Conversation, options: GuardOptions) -> Sequence[Ask]:
        """One request, or several that are sent together."""

    def read(self, replies: Sequence[Json], options: GuardOptions) -> Verdict:
        """Of one reply for each request, in their order; raises Unreadable."""


def chat(options: GuardOptions, messages: Sequence[Json], max_tokens: int, **more: Any) -> Ask:
    """A chat request whose answer is the same every time."""
    fixed = {"temperature": 0, "max_tokens": max_tokens, "stream": False}
    named = {"model": options.model} if options.model else {}
    return Ask(CHAT, {**named, "messages": list(messages), **fixed, **more})


def said(replies: Sequence[Json]) -> str:
    """The text of the one chat reply, which must have come to its end."""
    try:
        (reply,) = replies
        (choice,) = reply["choices"]
        text = choice["message"]["content"]
        finish = choice.get("finish_reason")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Unreadable("no chat completion with one choice") from error
    if not isinstance(text, str):
        raise Unreadable("a reply without text")
    if finish not in ("stop", None):
        raise Unreadable("a reply that was cut off")
    return text.strip()


def said_json(replies: Sequence[Json]) -> Json:
    """The JSON object that the one chat reply is, in a fence or not, with no key twice."""
    text = said(replies)
    if text.startswith("```") and text.endswith("```"):
        text = text[3:-3].removeprefix("json")
    try:
        told = json.loads(text, object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:
        raise Unreadable("a reply that is not one JSON object") from error
    if not isinstance(told, dict):
        raise Unreadable("a reply that is not one JSON object")
    return told


def _without_doubles(pairs: list[tuple[str, Any]]) -> Json:
    told = dict(pairs)
    if len(told) < len(pairs):
        raise ValueError("a key stands there twice")
    return told


def picture_url(png: bytes) -> str:
    """A picture as a data: URL."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def picture_part(png: bytes) -> Json:
    """A picture as a part of a chat message."""
    return {"type": "image_url", "image_url": {"url": picture_url(png)}}


def text_part(text: str) -> Json:
    """Text as a part of a chat message."""
    return {"type": "text", "text": text}


def quoted(text: str) -> str:
    """Somebody's text as it may stand in a prompt: `<|…|>`, which begins and ends turns, is taken apart."""
    return text.replace("<|", "< |")


def pictures_of(excerpt: Excerpt, about: Conversation) -> tuple[bytes, ...]:
    """What there is to see: the picture that is judged, or those that a judged text was said about."""
    return (excerpt.picture,) if excerpt.picture is not None else about.pictures
