"""A reply on its way from the engine to the caller: chunks in, chunks or one body out.

Streamed and plain answers are made of the same readings, so they cannot disagree. A reading holds no more
text than the reader's caps; what goes beyond them is in a stream and not in a plain answer, and the flag
`trace_truncated` says so.
"""

from collections.abc import Iterator
from typing import Any

from policies.catalog import Catalog
from policies.formats import ReasoningFormat
from policies.reply import AnswerText, Event, ReasoningText, StepRead, Trace, VerdictRead
from policies.trace import TraceReader
from serve.adapters.registry import Route, Version
from serve.api.merge import MergedDeltas
from serve.api.safety import SafetyWriter, step_json, verdict_json
from serve.errors import EngineFailed

Json = dict[str, Any]

_READ_HERE = frozenset({"role", "content", "reasoning", "reasoning_content"})
_CHOICE_FRAME = frozenset({"index", "delta", "message", "finish_reason"})


class Reply:
    """All choices of one reply."""

    def __init__(self, route: Route, choices: int, catalog: Catalog) -> None:
        self.usage: Json | None = None
        self.readings = [Reading(index, route.version, catalog) for index in range(choices)]
        self._head: Json = {}
        self._alias = route.alias

    def take(self, chunk: Json) -> Iterator[Json]:
        """The caller's chunks for one of the engine's."""
        if not self._head:
            self._head = {"id": chunk.get("id"), "created": chunk.get("created"), "model": self._alias}
        self.usage = chunk.get("usage") or self.usage
        for choice in chunk.get("choices") or ():
            index = choice.get("index")
            if index not in range(len(self.readings)):
                raise EngineFailed("the engine sent a choice that nobody asked for; try again")
            for out in self.readings[index].take(choice):
                yield self._chunk([out])

    @property
    def is_complete(self) -> bool:
        """Whether every choice has ended."""
        return all(reading.finish_reason for reading in self.readings)

    @property
    def has_text(self) -> bool:
        """Whether any reasoning or answer has arrived."""
        return any(reading.has_text for reading in self.readings)

    def usage_chunk(self) -> Json:
        """The extra chunk for callers who asked for usage."""
        return {**self._chunk([]), "usage": self.usage}

    def body(self) -> Json:
        """The plain answer."""
        choices = [reading.choice() for reading in self.readings]
        return {**self._head, "object": "chat.completion", "choices": choices, "usage": self.usage}

    def _chunk(self, choices: list[Json]) -> Json:
        return {**self._head, "object": "chat.completion.chunk", "choices": choices}


class Reading:
    """One choice: its text is read into a trace, everything else is passed on."""

    def __init__(self, index: int, version: Version, catalog: Catalog) -> None:
        self.finish_reason: str | None = None
        self.has_text = False
        self._index = index
        self._reader = TraceReader(version.format, version.clauses)
        self._safety = SafetyWriter(catalog, version)
        self._tags = _RestoredTags(version.format)
        self._begun = False
        self._rest = MergedDeltas()

    @property
    def trace(self) -> Trace:
        """The whole reply, once it has ended."""
        return self._reader.trace

    def take(self, choice: Json) -> Iterator[Json]:
        """The caller's choices for one of the engine's; nothing after the choice has ended."""
        if self.finish_reason:
            return
        delta = choice.get("delta") or {}
        self.finish_reason = choice.get("finish_reason")
        deltas = [*self._read(delta), *self._pass_on(delta)]
        extras = {key: value for key, value in choice.items() if key not in _CHOICE_FRAME}
        self._rest.add_extras(extras)
        if self.finish_reason:
            deltas.append({"safety": self._safety.whole(self.trace)})
        elif not deltas and any(value is not None for value in extras.values()):
            deltas.append({})
        yield from self._framed(deltas, extras)

    def choice(self) -> Json:
        """This choice of a plain answer."""
        trace, rest = self.trace, self._rest
        message = {
            "role": "assistant",
            "content": None if rest.has_tool_calls and not trace.answer else trace.answer,
            "refusal": None,
            "reasoning": trace.reasoning or None,
            "reasoning_content": trace.reasoning or None,
            **rest.message,
            "safety": self._safety.whole(trace),
        }
        frame = {"index": self._index, "message": message, "finish_reason": self.finish_reason}
        return {"logprobs": None, **frame, **rest.extras}

    def _read(self, delta: Json) -> Iterator[Json]:
        if not self._begun:
            self._begun = True
            yield {"role": "assistant", "content": ""}
        events = self._reader.feed(self._tags.text(delta))
        if self.finish_reason:
            events += self._reader.close()
        for event in events:
            self.has_text = True
            yield _delta(event)

    def _pass_on(self, delta: Json) -> Iterator[Json]:
        rest = {key: value for key, value in delta.items() if key not in _READ_HERE and value is not None}
        if rest:
            self._rest.add_delta(rest)
            yield rest

    def _framed(self, deltas: list[Json], extras: Json) -> Iterator[Json]:
        for number, delta in enumerate(deltas, start=1):
            last = number == len(deltas)
            yield {
                "index": self._index,
                "delta": delta,
                "finish_reason": self.finish_reason if last else None,
                **(extras if last else {}),
            }


class _RestoredTags:
    """Puts back the tags that an engine with a reasoning parser has taken off."""

    def __init__(self, tags: ReasoningFormat) -> None:
        self._opening = "" if tags.prefilled else tags.reasoning[0].opening
        self._closing = tags.reasoning[-1].closing
        self._parsed = False
        self._closed = False

    def text(self, delta: Json) -> str:
        reasoning = delta.get("reasoning") or delta.get("reasoning_content") or ""
        content = delta.get("content") or ""
        text = ""
        if reasoning and not self._parsed:
            self._parsed = True
            text = self._opening
        text += reasoning
        if content and self._parsed and not self._closed:
            self._closed = True
            text += self._closing
        return text + content


def _delta(event: Event) -> Json:
    match event:
        case ReasoningText(text):
            return {"reasoning": text, "reasoning_content": text}
        case StepRead(step):
            return {"safety": {"step": step_json(step)}}
        case VerdictRead(verdict, _):
            return {"safety": verdict_json(verdict)}
        case AnswerText(text):
            return {"content": text}
