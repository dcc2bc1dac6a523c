"""Second layer of the reader: turns the text of the reasoning into steps and a verdict, line by line.

Knows the reply grammar and nothing of a format's tags. What is kept is capped: the unfinished step,
the unfinished line, the number of steps and of citations. Every character is looked at a constant
number of times.
"""

import re
from collections.abc import Iterator
from enum import Enum, auto

from policies.reply import (
    CITATION,
    CLAUSE_PATTERN,
    Citation,
    Clauses,
    Event,
    Flag,
    ReasoningText,
    Source,
    Step,
    StepRead,
    Verdict,
    VerdictRead,
)
from policies.unseen import shows

MAX_STEPS = 1_000
MAX_STEP_CHARS = 8_000
MAX_VERDICT_CHARS = 1_000
"""A longer line is no verdict."""
MAX_CITATIONS = 100
"""Of a step, and of the verdict."""
VERDICT_HEAD = "Verdict: "

_TAGS = {f"[{source}] ": source for source in Source}
_HEADS = (*_TAGS, VERDICT_HEAD)
_HEAD = re.compile("|".join(map(re.escape, _HEADS)))
_LONGEST_HEAD = max(map(len, _HEADS))
_UNFINISHED_HEADS = {head[:length] for head in _HEADS for length in range(1, len(head))}
# Two ids in one pair of brackets, small letters, a zero before the number: meant as a citation, and none.
# Other letters are `policies.look_alikes`'s.
_SEEMING_CITATION = re.compile(r"\[ ?[Pp][0-9]{2}(?:\.[ !-Z^-~]{0,80})?\]")
_VERDICT_LINE = re.compile(rf"{VERDICT_HEAD}({'|'.join(Verdict)})((?: \[{CLAUSE_PATTERN}\])*)")


class _Line(Enum):
    """What the current line is known to be."""

    HEAD = auto()  # still too short to tell
    BODY = auto()
    VERDICT = auto()


class _Draft:
    """The step under way."""

    def __init__(self, source: Source | None) -> None:
        self.source = source
        self.truncated = False
        self._pieces: list[str] = []
        self._room = MAX_STEP_CHARS

    def add(self, text: str) -> None:
        kept, lost = text[: self._room], text[self._room :]
        self._room -= len(kept)
        if kept:
            self._pieces.append(kept)
        self.truncated = self.truncated or bool(lost.strip())

    def text(self) -> str:
        return "".join(self._pieces).strip()


class StepReader:
    """Incremental: `feed` reasoning, `end_step` at a section's end, `close` at its own end."""

    def __init__(self, clauses: Clauses) -> None:
        self.flags: set[Flag] = set()
        self.steps: list[Step] = []
        self.verdict: Verdict | None = None
        self.verdict_citations: tuple[Citation, ...] = ()
        self.verdicts: list[Verdict] = []
        """Each that was stated, in the order in which it was stated last."""
        self._clauses = clauses
        self._draft: _Draft | None = None
        self._kind = _Line.HEAD
        self._line = ""

    def feed(self, text: str) -> Iterator[Event]:
        """The text itself, with each step at the character that shows it to be complete."""
        start = 0
        while start < len(text):
            stop = self._stop(text, start)
            part = text[start:stop]
            yield ReasoningText(part)
            yield from self._on_part(part)
            start = stop

    def end_step(self) -> Iterator[Event]:
        """End the current line and the step it belongs to."""
        yield from self._end_line()
        if self._draft:
            step, self._draft = self._finish(self._draft), None
            self._keep(step)
            yield StepRead(step)

    def close(self) -> Iterator[Event]:
        """End the reasoning; from here on `verdict` is final."""
        yield from self.end_step()
        if self.verdict is None:
            self.flags.add(Flag.MISSING_VERDICT)
        if self.demanded - {self.verdict}:
            self.flags.add(Flag.CONTRADICTED_VERDICT)

    def verdict_read(self) -> VerdictRead:
        """What the reasoning came to; after `close`."""
        return VerdictRead(self.verdict, self.verdict_citations, tuple(self.verdicts), self.demanded)

    @property
    def demanded(self) -> frozenset[Verdict]:
        """The verdicts that the clauses behind the verdict demand."""
        demanded = (self._clauses.get(citation.clause) for citation in self.verdict_citations)
        return frozenset(verdict for verdict in demanded if verdict is not None)

    def _keep(self, step: Step) -> None:
        if len(self.steps) < MAX_STEPS:
            self.steps.append(step)
        else:
            self.flags.add(Flag.TRACE_TRUNCATED)

    def _stop(self, text: str, start: int) -> int:
        """Just behind a head, because it ends the step before; else the end of the line or of the text."""
        if self._kind is _Line.HEAD:
            head = _HEAD.match(self._line + text[start : start + _LONGEST_HEAD])
            if head:
                return start + head.end() - len(self._line)
        newline = text.find("\n", start)
        return len(text) if newline < 0 else newline + 1

    def _on_part(self, part: str) -> Iterator[Event]:
        if self._kind is _Line.BODY:
            self._add(part)
        else:
            self._line += part
        if self._kind is _Line.HEAD:
            yield from self._decide()
        elif self._kind is _Line.VERDICT and len(self._line) > MAX_VERDICT_CHARS:
            self._to_body()
        if part.endswith("\n"):
            yield from self._end_line()

    def _decide(self) -> Iterator[Event]:
        source = _TAGS.get(self._line)
        if source is not None:
            self._line = ""
            yield from self.end_step()
            self._begin(source)
            self._kind = _Line.BODY
        elif self._line == VERDICT_HEAD:
            self._kind = _Line.VERDICT
        elif self._line not in _UNFINISHED_HEADS:
            self._to_body()

    def _to_body(self) -> None:
        line, self._line = self._line, ""
        self._kind = _Line.BODY
        self._add(line)

    def _end_line(self) -> Iterator[Event]:
        found = _VERDICT_LINE.fullmatch(self._line.rstrip()) if self._kind is _Line.VERDICT else None
        if found:
            self._kind, self._line = _Line.HEAD, ""
            yield from self.end_step()
            self._take_verdict(Verdict(found[1]), found[2])
        else:
            self._to_body()
            self._kind = _Line.HEAD

    def _take_verdict(self, verdict: Verdict, citations: str) -> None:
        if self.verdict is not None or Flag.VERDICT_NOT_LAST in self.flags:
            self.flags.add(Flag.SEVERAL_VERDICTS)
        self.flags.discard(Flag.VERDICT_NOT_LAST)
        self.verdict = verdict
        self.verdict_citations = self._cite(citations)
        self.verdicts = [*(stated for stated in self.verdicts if stated != verdict), verdict]

    def _add(self, text: str) -> None:
        if self._draft is None:
            text = text.lstrip()
            if not text:
                return
            self._begin(None)
        if self._draft:
            self._draft.add(text)

    def _begin(self, source: Source | None) -> None:
        """A step after a verdict shows that the verdict was not the end of the reasoning."""
        self._draft = _Draft(source)
        if self.verdict is not None:
            self.flags.add(Flag.VERDICT_NOT_LAST)
            self.verdict, self.verdict_citations = None, ()

    def _finish(self, draft: _Draft) -> Step:
        """A tag with nothing to see behind it is text like any other: a step says something."""
        text, source = draft.text(), draft.source
        if source and not shows(text):
            text, source = f"[{source}] {text}".strip()[:MAX_STEP_CHARS], None
        if source is None:
            self.flags.add(Flag.UNTAGGED_STEP)
        if draft.truncated:
            self.flags.add(Flag.TRACE_TRUNCATED)
        return Step(_without_closing_citations(text), source, self._cite(text))

    def _cite(self, text: str) -> tuple[Citation, ...]:
        found = [Citation(clause, clause in self._clauses) for clause in CITATION.findall(text)]
        if not all(citation.valid for citation in found) or _SEEMING_CITATION.search(CITATION.sub("", text)):
            self.flags.add(Flag.INVALID_CLAUSE)
        if len(found) > MAX_CITATIONS:
            self.flags.add(Flag.TRACE_TRUNCATED)
        return tuple(found[:MAX_CITATIONS])


def _without_closing_citations(text: str) -> str:
    end = len(text)
    for found in reversed(list(CITATION.finditer(text))):
        if text[found.end() : end].strip():
            break
        end = found.start()
    return text[:end].rstrip()
