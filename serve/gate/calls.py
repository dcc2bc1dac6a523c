"""Tool calls on their way: put together from their pieces, and spelled out for guards.

Everything a call would say to a caller is text that has to be scanned: name, arguments, ids, and fields
that nobody here knows. Arguments are JSON, in which letters hide behind escapes: they are shown decoded, too.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from policies.trimming import MAX_TEXT_CHARS
from serve.gate.texts import texts_in
from serve.gate.values import Json

_JOINED = ("arguments", "input")
"""Fields that come in pieces; any other comes whole."""
_PARTS = ("function", "custom")
_FRAME = tuple(("type", part) for part in _PARTS)
FRAME = frozenset({"id", "type", "name", *_JOINED, *_PARTS})
"""Words that every call has; as a text of its own none of them says anything."""


class CallsUnderWay:
    """All calls of one choice, by their index."""

    def __init__(self, most_chars: int = MAX_TEXT_CHARS) -> None:
        """What goes beyond `most_chars` is counted and not kept, because it cannot leave."""
        self.chars = 0
        """Of all that was put."""
        self._most_chars = most_chars
        self._calls: dict[int, Json] = {}
        self._pieces: dict[tuple[int, str, str], list[str]] = {}

    def __bool__(self) -> bool:
        return bool(self._calls)

    def add(self, deltas: Sequence[Json]) -> None:
        """`tool_calls` of one delta."""
        for delta in deltas:
            self.chars += 1 + sum(map(len, texts_in(delta)))
            if self.chars <= self._most_chars:
                self._add(delta)

    def whole(self) -> tuple[Json, ...]:
        """In the order of their indices."""
        for (index, part, key), pieces in self._pieces.items():
            self._calls[index][part][key] = "".join(pieces)
        return tuple(call for _, call in sorted(self._calls.items()))

    def spelled(self) -> str:
        """Every text in them, one to a line."""
        return "\n".join(text for call in self.whole() for text in _with_decoded(call))

    def _add(self, delta: Json) -> None:
        told = delta.get("index")
        index = told if isinstance(told, int) else 0
        call = self._calls.setdefault(index, {"type": "function"})
        for key, value in delta.items():
            if key in _PARTS and isinstance(value, dict):
                self._add_part(index, key, value)
            elif key != "index" and key not in _PARTS and value is not None:
                call[key] = value

    def _add_part(self, index: int, part: str, told: Json) -> None:
        fields = self._calls[index].setdefault(part, {})
        for key, value in told.items():
            if key in _JOINED and isinstance(value, str):
                self._pieces.setdefault((index, part, key), []).append(value)
            elif value is not None:
                fields[key] = value


def _with_decoded(call: Json) -> Iterator[str]:
    for text in _values(call):
        yield text
        yield from (inner for inner in texts_in(decoded(text)) if inner not in text)


def _values(call: Json) -> Iterator[str]:
    """Every text but the words of the frame itself."""
    for key, value in call.items():
        if key in _PARTS and isinstance(value, dict):
            yield from _values(value)
        elif (key, value) not in _FRAME:
            yield from texts_in(value)


def decoded(text: str) -> Any:
    """What JSON says; None where it is none, or so deep that nothing reads it."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
