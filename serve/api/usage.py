"""Tokens of one request, whoever counted them, and however the request ended.

Engines tell the sum at the end of a reply, some of them a running count before it. A reply that is cut off
has the running count, or where there is none the number of pieces it came in. Knows nothing of the gate:
what was generated was paid for, whether or not it left.
"""

from collections.abc import Sequence
from typing import Any, Literal, TypeGuard

from policies.reply import AnswerText, Event, ReasoningText

Json = dict[str, Any]
_MOST = 2**53 - 1
"""Beyond it readers of JSON disagree about a number."""
_COUNTS = ("prompt_tokens", "completion_tokens")
_DETAILS = ("prompt_tokens_details", "completion_tokens_details")


class Usage:
    """Filled while the reply comes in; may be asked at any time."""

    def __init__(self) -> None:
        self._sum: Json | None = None
        """The engine's last word."""
        self._so_far: dict[int, Json] = {}
        """Its running count, by choice."""
        self._before: Json = {}
        """What was asked of an engine before the reply, on the caller's behalf."""
        self._pieces = 0
        self._reasoning_chars = 0
        self._answer_chars = 0

    def take(self, chunk: Json) -> None:
        """One chunk of the engine."""
        choices: list[Json] = chunk.get("choices") or []
        self._pieces += len(choices)
        usage = chunk.get("usage")
        if not _tells(usage):
            return
        if len(choices) == 1:
            # Of this choice alone; in an only choice's last chunk it is the sum as well.
            self._so_far[choices[0].get("index") or 0] = usage
        else:
            self._sum = usage

    def add(self, usage: Any) -> None:
        """A call that came before the reply: the caller pays for it as well."""
        self._before = _checked(usage) or {}

    def read(self, events: Sequence[Event]) -> None:
        """What the text was."""
        for event in events:
            if isinstance(event, ReasoningText):
                self._reasoning_chars += len(event.text)
            elif isinstance(event, AnswerText):
                self._answer_chars += len(event.text)

    @property
    def is_summed(self) -> bool:
        """The engine told the sum, which is the last that it tells of a reply."""
        return self._sum is not None

    @property
    def counted_by(self) -> Literal["engine", "gateway"] | None:
        """None: nothing was generated."""
        if self._sum or self._so_far:
            return "engine"
        return "gateway" if self._pieces else None

    @property
    def prompt_tokens(self) -> int | None:
        """None where no engine said so."""
        return self._with_before("prompt_tokens", self._prompt)

    @property
    def completion_tokens(self) -> int | None:
        """A gateway's count takes a piece for a token, which is what engines send unless they hurry."""
        return self._with_before("completion_tokens", self._completion)

    @property
    def reasoning_tokens(self) -> int | None:
        """The engine's own count where it reads reasoning, else reasoning's share of the text."""
        completion = self._completion
        chars = self._reasoning_chars + self._answer_chars
        if completion is None:
            return None
        told = self._last.get("completion_tokens_details") or {}
        if told.get("reasoning_tokens"):
            return int(told["reasoning_tokens"])
        return round(completion * self._reasoning_chars / chars) if chars else None

    @property
    def _prompt(self) -> int | None:
        told = self._sum or next(iter(self._so_far.values()), None)
        return int(told["prompt_tokens"]) if told else None

    @property
    def _completion(self) -> int | None:
        if self._sum:
            return int(self._sum["completion_tokens"])
        if self._so_far:
            return sum(int(told["completion_tokens"]) for told in self._so_far.values())
        return self._pieces or None

    def _with_before(self, name: str, own: int | None) -> int | None:
        before = self._before.get(name)
        return own if before is None else before + (own or 0)

    @property
    def _last(self) -> Json:
        """With the details that the engine tells."""
        told = self._sum or (next(iter(self._so_far.values())) if len(self._so_far) == 1 else None)
        return _checked(told) or {}

    @property
    def spent(self) -> int:
        """Prompt and reply together, as far as they are known: what a key's allowance is charged with."""
        return (self.prompt_tokens or 0) + (self.completion_tokens or 0)

    def told(self) -> Json | None:
        """For the caller, in OpenAI's words; None where the engine did not say what the prompt took."""
        prompt, completion, reasoning = self.prompt_tokens, self.completion_tokens, self.reasoning_tokens
        if self._prompt is None or prompt is None or completion is None:
            return None
        usage = dict(self._last)
        usage |= {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }
        if reasoning is not None:
            details = usage.get("completion_tokens_details") or {}
            usage["completion_tokens_details"] = {**details, "reasoning_tokens": reasoning}
        return usage


def _tells(usage: Any) -> TypeGuard[Json]:
    """Whether it says what prompt and reply took."""
    return isinstance(usage, dict) and all(_is_number(usage.get(name)) for name in _COUNTS)


def _checked(usage: Any) -> Json | None:
    """Numbers only: nothing else of an engine's usage is read, so nothing else is passed on."""
    if not _tells(usage):
        return None
    details = {name: _numbers(usage[name]) for name in _DETAILS if isinstance(usage.get(name), dict)}
    return {name: usage[name] for name in _COUNTS} | details


def _numbers(fields: Json) -> Json:
    return {name: value for name, value in fields.items() if _is_number(value)}


def _is_number(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _MOST
