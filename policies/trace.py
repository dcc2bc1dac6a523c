"""The reader of replies: from what a model generates to steps, a verdict and an answer.

    reply    = reasoning answer                         ; delimiters belong to the ReasoningFormat
    step     = "[" source "]" SP text                   ; one step per line; further lines continue it
    source   = "visual" / "textual" / "visual+textual"
    citation = "[" clause "]"                           ; anywhere in a step
    clause   = "P" 2DIGIT "." ( "G" / "D" n / "B" n / "R" n )
    verdict  = "Verdict:" SP ( "refuse" / "safe_complete" / "comply" ) *( SP citation )   ; last line

It never raises on what a model wrote and never guesses: whatever departs from the grammar stays text,
and a flag says so. The same reply gives the same trace however it is cut into pieces, in the middle of a
character too. Only a model's own output belongs in here; tags in a caller's text or in an image mean
nothing.

Reading takes time in proportion to the reply and memory that does not depend on it: what goes beyond the
caps (`policies.trimming` for reasoning and answer, `policies.steps` for steps and citations) is told in
the events and missing in the trace, and a flag says so.
"""

from collections.abc import Iterable, Iterator
from itertools import chain, groupby

from policies.decoding import Decoder
from policies.delimiters import Kind, Part, Splitter
from policies.formats import ReasoningFormat
from policies.look_alikes import LookAlikes
from policies.reply import (
    CITATION,
    AnswerText,
    Citation,
    Clauses,
    Event,
    Flag,
    ReasoningText,
    Source,
    Step,
    StepRead,
    Trace,
    Verdict,
    VerdictRead,
)
from policies.steps import StepReader
from policies.trimming import TrimmedText
from policies.unseen import shows

__all__ = [
    "AnswerText",
    "Citation",
    "Clauses",
    "Event",
    "Flag",
    "ReasoningText",
    "Source",
    "Step",
    "StepRead",
    "Trace",
    "TraceReader",
    "Verdict",
    "VerdictRead",
    "read",
]


class TraceReader:
    """Reads one reply: `feed` every piece, `close`, then take `trace`.

    Events come in the order of the stream. Their sequence is the same for every chunking, up to where
    two neighbouring texts are cut.
    """

    def __init__(self, reasoning_format: ReasoningFormat, clauses: Clauses) -> None:
        self._decoder = Decoder()
        self._splitter = Splitter(reasoning_format)
        self._look_alikes = LookAlikes(reasoning_format)
        self._steps = StepReader(clauses)
        self._reasoning = TrimmedText()
        self._answer = TrimmedText()
        self._trace: Trace | None = None

    def feed(self, piece: str | bytes) -> list[Event]:
        """What this piece completes; neighbouring texts come as one event. Bytes are UTF-8."""
        if self._trace:
            raise RuntimeError("this reader is closed: use a new TraceReader for every reply")
        return _merged(self._read(self._decoder.feed(piece)))

    def close(self) -> list[Event]:
        """The end of the reply, whole or cut off. A second call changes nothing."""
        if self._trace:
            return []
        events = _merged(chain(self._read(self._decoder.close()), self._events(self._splitter.close())))
        self._trace = self._finish()
        return events

    @property
    def trace(self) -> Trace:
        """The whole reply; only after `close`, because until then any of it may change."""
        if not self._trace:
            raise RuntimeError("close the reader before taking its trace")
        return self._trace

    def _read(self, text: str) -> Iterator[Event]:
        self._look_alikes.on_reply(text)
        return self._events(self._splitter.feed(text))

    def _events(self, parts: Iterable[Part]) -> Iterator[Event]:
        for kind, text in parts:
            if kind is Kind.REASONING:
                shown = self._reasoning.write(text)
                self._look_alikes.on_reasoning(shown)
                yield from self._steps.feed(shown)
            elif kind is Kind.SECTION_END:
                self._reasoning.break_line()
                self._look_alikes.end_line()
                yield from self._steps.end_step()
            elif kind is Kind.REASONING_END:
                self._look_alikes.end_line()
                yield from self._steps.close()
                yield self._steps.verdict_read()
            elif shown := self._answer.write(text):
                yield AnswerText(shown)

    def _finish(self) -> Trace:
        reasoning, answer = self._reasoning.text(), self._answer.text()
        flags = self._splitter.flags | self._steps.flags
        if not self._steps.steps:
            flags.add(Flag.NO_TRACE)
        if not shows(answer):
            flags.add(Flag.EMPTY_ANSWER)
        if self._look_alikes.found:
            flags.add(Flag.LOOK_ALIKE)
        if self._reasoning.truncated or self._answer.truncated:
            flags.add(Flag.TRACE_TRUNCATED)
        if CITATION.search(answer):
            flags.add(Flag.CITATION_IN_ANSWER)
        return Trace(
            steps=tuple(self._steps.steps),
            verdict=self._steps.verdict,
            verdict_citations=self._steps.verdict_citations,
            reasoning=reasoning,
            answer=answer,
            flags=tuple(flag for flag in Flag if flag in flags),
        )


def read(text: str | bytes, reasoning_format: ReasoningFormat, clauses: Clauses) -> Trace:
    """Read a reply that is already complete."""
    reader = TraceReader(reasoning_format, clauses)
    reader.feed(text)
    reader.close()
    return reader.trace


def _merged(events: Iterable[Event]) -> list[Event]:
    merged: list[Event] = []
    for kind, group in groupby(events, type):
        if kind is ReasoningText or kind is AnswerText:
            merged.append(kind("".join(event.text for event in group if isinstance(event, kind))))
        else:
            merged.extend(group)
    return merged
