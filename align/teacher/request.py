"""One question to a model as a value: its body on the wire, what it is known by, how long it may be.

Knows nothing of where the model is or who pays.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from align.errors import RecipeError
from policies.prompt import Message

RESERVED = frozenset({"model", "messages", "max_tokens", "stream", "n"})
"""A recipe has keys of its own for the first three; the engine reads one reply, whole."""
BYTES_PER_TOKEN = 3
"""English has more than four in common tokenizers, Chinese about three: an estimate from above."""
TOKENS_PER_MESSAGE = 16
"""What chat templates put around a message."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked; RecipeError where `extra_body` says what the recipe says elsewhere."""

    model: str
    messages: tuple[Message, ...]
    temperature: float
    max_tokens: int
    seed: int
    response_format: dict[str, Any] | None = None
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    thoughts_inline: bool = False
    """Whether the reply is to hold the model's own thoughts: a server does that or not, it is not asked."""

    def __post_init__(self) -> None:
        if reserved := sorted(RESERVED & self.extra_body.keys()):
            raise RecipeError(
                f"extra_body for {self.model} may not hold {', '.join(reserved)}: take it out "
                "(a role has keys of its own for its model and for max_tokens)"
            )

    def body(self) -> dict[str, Any]:
        """What goes over the wire."""
        fields: dict[str, Any] = {
            "model": self.model,
            "messages": list(self.messages),
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "seed": self.seed,
        }
        if self.response_format is not None:
            fields["response_format"] = self.response_format
        if (
            "max_completion_tokens" in self.extra_body
        ):  # the newer name; servers that know it reject the older
            del fields["max_tokens"]
        return fields | dict(self.extra_body)

    def encoded(self) -> bytes:
        """The body in JSON; equal requests give equal bytes."""
        return json.dumps(self.body(), separators=(",", ":")).encode()

    @property
    def key(self) -> str:
        """SHA-256 of all that can change the reply, 64 hex digits; where the model is does not count."""
        known_by = _with_digests(self.body()) | ({"thoughts_inline": True} if self.thoughts_inline else {})
        canonical = json.dumps(known_by, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def most_completion_tokens(self) -> int:
        """What the reply may take."""
        return int(self.extra_body.get("max_completion_tokens", self.max_tokens))

    def prompt_tokens(self, image_tokens: int) -> int:
        """What the prompt is estimated to take, each picture at `image_tokens`."""
        schema = len(json.dumps(self.response_format)) // BYTES_PER_TOKEN if self.response_format else 0
        return estimated_prompt_tokens(self.messages, image_tokens) + schema


def estimated_prompt_tokens(messages: Sequence[Message], image_tokens: int) -> int:
    """What messages take of a prompt, from above; only a model's own tokenizer knows exactly."""
    tokens = TOKENS_PER_MESSAGE * len(messages)
    for part in _parts(messages):
        text = part.get("text")
        tokens += -(-_length(text) // BYTES_PER_TOKEN) if isinstance(text, str) else image_tokens
    return tokens


def _parts(messages: Sequence[Message]) -> Iterator[Mapping[str, Any]]:
    for message in messages:
        content = message.get("content") or ""
        yield from [{"text": content}] if isinstance(content, str) else content


def _length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="replace"))


def _with_digests(value: Any) -> Any:
    """The value with every data URL replaced by its digest: pictures are long."""
    match value:
        case str() if value.startswith("data:"):
            return f"data:sha256:{hashlib.sha256(value.encode(errors='surrogatepass')).hexdigest()}"
        case Mapping():
            return {name: _with_digests(part) for name, part in value.items()}
        case list() | tuple():
            return [_with_digests(part) for part in value]
    return value
