"""The reader of replies: from what a model generates to steps, a verdict and an answer.

    reply    = reasoning answer                         ; delimiters belong to the ReasoningFormat
    step     = "[" source "]" SP text                   ; one step per line; further lines continue it
    source   = "visual" / "textual" / "visual+textual"
    citation = "[" clause "]"                           ; anywhere in a step
    clause   = "P" 2DIGIT "." ( "G" / "D" n / "B" n / "R" n )
    verdict  = "Verdict:" SP ( "refuse" / "safe_complete" / "comply" ) *( SP citation )   ; last line

It never raises on what a model wrote and never guesses: whatever departs from the grammar stays text,
and a flag says so. The same reply gives the same trace however it is cut into pieces. Only a model's
own output belongs in here; tags in a caller's text or in an image mean nothing.
"""

from collections.abc import Collection, Iterable, Iterator
from itertools import groupby

from policies.delimiters import Kind, Part, Splitter
from policies.formats import ReasoningFormat
from policies.reply import (
    CITATION,
    AnswerText,
    Citation,
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
from policies.steps import MAX_STEP_CHARS, StepReader

__all__ = [
    "MAX_STEP_CHARS",
    "AnswerText",
    "Citation",
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

    def __init__(self, reasoning_format: ReasoningFormat, known_clauses: Collection[str]) -> None:
        self._splitter = Splitter(reasoning_format)
        self._steps = StepReader(known_clauses)
        self._reasoning = _TrimmedText()
        self._answer = _TrimmedText()
        self._trace: Trace | None = None

    def feed(self, piece: str) -> list[Event]:
        """What this piece completes; neighbouring texts come as one event."""
        if self._trace:
            raise RuntimeError("this reader is closed: use a new TraceReader for every reply")
        return _merged(self._events(self._splitter.feed(piece)))

    def close(self) -> list[Event]:
        """The end of the reply, whole or cut off. A second call changes nothing."""
        if self._trace:
            return []
        events = _merged(self._events(self._splitter.close()))
        self._trace = self._finish()
        return events

    @property
    def trace(self) -> Trace:
        """The whole reply; only after `close`, because until then any of it may change."""
        if not self._trace:
            raise RuntimeError("close the reader before taking its trace")
        return self._trace

    def _events(self, parts: Iterable[Part]) -> Iterator[Event]:
        for kind, text in parts:
            if kind is Kind.REASONING:
                yield from self._steps.feed(self._reasoning.write(text))
            elif kind is Kind.SECTION_END:
                self._reasoning.break_line()
                yield from self._steps.end_step()
            elif kind is Kind.REASONING_END:
                yield from self._steps.close()
                yield VerdictRead(self._steps.verdict, self._steps.verdict_citations)
            elif shown := self._answer.write(text):
                yield AnswerText(shown)

    def _finish(self) -> Trace:
        reasoning, answer = self._reasoning.text(), self._answer.text()
        flags = self._splitter.flags | self._steps.flags
        if not self._steps.steps:
            flags.add(Flag.NO_TRACE)
        if not answer:
            flags.add(Flag.EMPTY_ANSWER)
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


def read(text: str, reasoning_format: ReasoningFormat, known_clauses: Collection[str]) -> Trace:
    """Read a reply that is already complete."""
    reader = TraceReader(reasoning_format, known_clauses)
    reader.feed(text)
    reader.close()
    return reader.trace


class _TrimmedText:
    """Text as it arrives, less the whitespace around it; whitespace waits until text follows."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._waiting: list[str] = []
        self._fresh = True

    def write(self, text: str) -> str:
        """The part of everything written that can be shown now and was not before."""
        text = text.lstrip() if self._fresh else text
        body = text.rstrip()
        if not body:
            self._waiting.append(text)
            return ""
        shown = "".join((*self._waiting, body))
        self._waiting = [text[len(body) :]]
        self._fresh = False
        self._pieces.append(shown)
        return shown

    def break_line(self) -> None:
        """Part what was written from what follows by one newline, whatever stands there."""
        self._waiting = ["\n"] if self._pieces else []
        self._fresh = True

    def text(self) -> str:
        return "".join(self._pieces)


def _merged(events: Iterable[Event]) -> list[Event]:
    merged: list[Event] = []
    for kind, group in groupby(events, type):
        if kind is ReasoningText or kind is AnswerText:
            merged.append(kind("".join(event.text for event in group if isinstance(event, kind))))
        else:
            merged.extend(group)
    return merged
