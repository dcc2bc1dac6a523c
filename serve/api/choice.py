"""One choice of a reply: the engine's pieces in, what may leave out.

Only fields that are known here are read, and everything in them goes through the gate; what is not known
does not leave.
"""

import math
from collections.abc import Sequence
from typing import Any, Final

from policies.formats import ReasoningFormat
from policies.trace import TraceReader
from serve.adapters.registry import Version
from serve.api.safety import SafetyWriter
from serve.api.usage import Usage
from serve.api.writer import Ending, Finished
from serve.errors import EngineFailed
from serve.gate.gate import Gate
from serve.gate.observing import ObservingGate
from serve.gate.patterns import WIDEST
from serve.gate.values import Handling, Mode, Out

Json = dict[str, Any]

_UNASKED: Final = "token_ids"
"""vLLM writes it into every piece, and null unless it was asked for."""
_READ = frozenset({"role", "content", "refusal", "reasoning", "reasoning_content", "tool_calls"})
_FRAME = frozenset({"index", "delta", "message", "finish_reason", "stop_reason", "logprobs", _UNASKED})
FINISHES = frozenset({"stop", "length", "tool_calls", "function_call", "content_filter", "abort", "error"})
_ACROSS: Final = 2 * WIDEST
"""Characters before a place where text goes on: as many as a match can have there, padding included."""


class Choice:
    """Reads until its choice has ended or was blocked."""

    def __init__(
        self,
        index: int,
        version: Version,
        gate: Gate | ObservingGate,
        usage: Usage,
        safety: SafetyWriter,
        handling: Handling,
        stops: Sequence[str] = (),
    ) -> None:
        """`stops`: the caller's own stop words, the only text that `stop_reason` may tell."""
        self.index = index
        self.gate = gate
        self.is_told = False
        """Its end was written."""
        self.dropped = 0
        """Fields that nobody reads and that were left out."""
        self.finish_reason: str | None = None
        """The engine's."""
        self._reader = TraceReader(version.format, version.clauses)
        self._tags = _RestoredTags(version.format)
        self._usage = usage
        self._safety = safety
        self._handling = handling
        self._stops = frozenset(stops)
        self._logprobs: list[Json] | None = None
        self._texts: list[str] = []
        """All that was read, where log-probabilities come with it."""
        self._stop_reason: int | str | None = None

    def take(self, pieces: Sequence[Json]) -> list[Out]:
        """The pieces of one read. What follows the choice's end or a block is not read."""
        if self.finish_reason is not None or self.gate.is_done:
            return []
        texts: list[str] = []
        calls: list[Json] = []
        for piece in pieces:
            texts.append(self._read(piece, calls))
            if self.finish_reason is not None:
                break
        text = "".join(texts)
        if self._logprobs is not None:
            self._texts.append(text)
        events = self._reader.feed(text)
        if self.finish_reason is not None:
            events += self._reader.close()
        self._usage.read(events)
        outs = self.gate.take(events) if events else []
        if calls:
            # Behind the text, the verdict above all: engines tell calls last, and in a whole body at once.
            self.gate.hold_tool_calls(calls)
        if self.finish_reason is not None:
            outs += self.gate.end(self._reader.trace, self.finish_reason, self._beyond_text())
        return outs

    @property
    def is_waiting(self) -> bool:
        """The engine is not through with it, nor was it blocked."""
        return self.finish_reason is None and not self.gate.is_done

    def ending(self) -> Ending:
        """How it ended, by what was delivered."""
        delivered = self.gate.delivered
        is_blocked = self.gate.blocked is not None
        extras: Json = {}
        if not is_blocked and self._logprobs is not None:
            extras["logprobs"] = {"content": self._logprobs, "refusal": None}
        if not is_blocked and self._stop_reason is not None:
            extras["stop_reason"] = self._stop_reason
        return Ending(
            finish_reason="content_filter" if is_blocked else self.finish_reason or "stop",
            action=delivered.action,
            safety=self._safety.shown(delivered.trace, delivered.action, self._handling.shown),
            extras=extras,
        )

    def finished(self) -> Finished:
        """For a plain body."""
        delivered = self.gate.delivered
        return Finished(self.index, delivered.trace, delivered.tool_calls, delivered.refusal, self.ending())

    def _read(self, piece: Json, calls: list[Json]) -> str:
        """The piece's text; what it has of tool calls is added to `calls`."""
        delta = piece.get("delta") or {}
        if not isinstance(delta, dict):
            raise EngineFailed("the engine sent what cannot be read; try again")
        if not (delta.keys() <= _READ and piece.keys() <= _FRAME) or piece.get(_UNASKED) is not None:
            self._count_dropped(piece, delta)
        if isinstance(delta.get("tool_calls"), list):
            calls += [call for call in delta["tool_calls"] if isinstance(call, dict)]
        if piece.get("logprobs") is not None:
            self._keep_logprobs(piece["logprobs"])
        finish = piece.get("finish_reason")
        if finish is not None:
            # The word is the engine's: only those that say something here are passed on.
            self.finish_reason = finish if isinstance(finish, str) and finish in FINISHES else "other"
            self._keep_stop_reason(piece.get("stop_reason"))
        return self._tags.text(delta)

    def _keep_stop_reason(self, reason: Any) -> None:
        if isinstance(reason, int) or (isinstance(reason, str) and reason in self._stops):
            self._stop_reason = reason

    def _keep_logprobs(self, logprobs: Any) -> None:
        """Held to the end: they tell the text once more, and token by token."""
        entries = logprobs.get("content") if isinstance(logprobs, dict) else None
        if not isinstance(entries, list):
            return
        if self._logprobs is None:
            self._logprobs = []
        told = [entry for entry in entries if isinstance(entry, dict)]
        self._logprobs += told if self._handling.mode is Mode.OBSERVE else map(_token, told)

    def _beyond_text(self) -> str:
        """What tokens spell beyond the text that they belong to, such as an end that `stop` took off.

        With what stands before it, since a match may reach across.
        """
        if not self._logprobs:
            return ""
        spelled = "".join(_string(entry.get("token")) for entry in self._logprobs)
        text = "".join(self._texts)
        if text.startswith(spelled):
            return ""
        return spelled[max(0, len(text) - _ACROSS) :] if spelled.startswith(text) else spelled

    def _count_dropped(self, piece: Json, delta: Json) -> None:
        unread = [value for name, value in delta.items() if name not in _READ]
        unread += [value for name, value in piece.items() if name not in _FRAME or name == _UNASKED]
        self.dropped += sum(value is not None for value in unread)


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _token(entry: Json) -> Json:
    """Only what was chosen, and of it nothing but the word, which is scanned, and its number."""
    word, logprob = _string(entry.get("token")), entry.get("logprob")
    spelled = None if entry.get("bytes") is None else list(word.encode("utf-8", "replace"))
    number = logprob if isinstance(logprob, int | float) and abs(logprob) < math.inf else None
    return {"token": word, "logprob": number, "bytes": spelled, "top_logprobs": []}


class _RestoredTags:
    """Puts back the tags that an engine with a reasoning parser has taken off."""

    def __init__(self, tags: ReasoningFormat) -> None:
        self._opening = "" if tags.prefilled else tags.reasoning[0].opening
        self._closing = tags.reasoning[-1].closing
        self._parsed = False
        self._closed = False

    def text(self, delta: Json) -> str:
        """A refusal of the engine's own is an answer like any other."""
        content = _string(delta.get("content")) + _string(delta.get("refusal"))
        reasoning = _string(delta.get("reasoning")) or _string(delta.get("reasoning_content"))
        if not reasoning and not self._parsed:
            return content
        text = ""
        if reasoning and not self._parsed:
            self._parsed = True
            text = self._opening
        text += reasoning
        if content and self._parsed and not self._closed:
            self._closed = True
            text += self._closing
        return text + content
