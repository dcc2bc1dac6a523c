"""The values a model's reply is read into: steps, verdict, trace, and the events of a stream.

Values only. `policies.trace` reads them from text, `policies.render` writes them back.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

CLAUSE_PATTERN = r"P[0-9]{2}\.(?:G|[DBR][1-9][0-9]{0,2})"
CITATION = re.compile(rf"\[({CLAUSE_PATTERN})\]")


class Source(StrEnum):
    """Where a step says its evidence comes from; the paper's vision, text and interaction."""

    VISUAL = "visual"
    TEXTUAL = "textual"
    BOTH = "visual+textual"


class Verdict(StrEnum):
    """What the model decided to do with the request."""

    REFUSE = "refuse"
    SAFE_COMPLETE = "safe_complete"
    COMPLY = "comply"


Clauses: TypeAlias = Mapping[str, Verdict | None]
"""Every clause that a reply may cite, with the verdict it demands, if it demands one."""


class Flag(StrEnum):
    """How a reply departs from the grammar; `TOLERATED_FLAGS` are no fault."""

    NO_TRACE = "no_trace"
    """There is not one step: no delimiters, or nothing but perhaps a verdict between them."""
    UNCLOSED_REASONING = "unclosed_reasoning"
    """The reply ended inside the reasoning, so it has no answer."""
    STRAY_DELIMITER = "stray_delimiter"
    """A tag of the format stands where it means nothing; it was kept as text."""
    UNTAGGED_STEP = "untagged_step"
    TRACE_TRUNCATED = "trace_truncated"
    """Some text, step or citation went beyond the reader's caps and is not in the trace; a stream has it."""
    LOOK_ALIKE = "look_alike"
    """Something that only looks like a tag, a source, a verdict or a citation; it was kept as text."""
    INVALID_CLAUSE = "invalid_clause"
    """A cited clause is not among those that this reply may cite, or what is meant as a citation is none."""
    MISSING_VERDICT = "missing_verdict"
    """Set exactly when the verdict is None."""
    SEVERAL_VERDICTS = "several_verdicts"
    """Only the last one counts."""
    VERDICT_NOT_LAST = "verdict_not_last"
    """The reasoning went on after its verdict, so that verdict does not count."""
    CONTRADICTED_VERDICT = "contradicted_verdict"
    """The verdict's line cites a clause that demands another verdict."""
    EMPTY_ANSWER = "empty_answer"
    UNCLOSED_ANSWER = "unclosed_answer"
    """The answer's wrapper was opened and never closed: it was probably cut off."""
    TEXT_AFTER_ANSWER = "text_after_answer"
    """Text followed the answer's closing tag; it was kept as part of the answer."""
    CITATION_IN_ANSWER = "citation_in_answer"
    """The caller would see a clause id; allowed, but worth knowing."""


TOLERATED_FLAGS = frozenset({Flag.CITATION_IN_ANSWER})
"""A reply with no other flags is well formed."""


@dataclass(frozen=True, slots=True)
class Citation:
    """A clause id as the model wrote it, and whether it is one that this reply may cite."""

    clause: str
    valid: bool


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the reasoning."""

    text: str
    """As written, less the source tag and the citations that close it."""
    source: Source | None
    citations: tuple[Citation, ...]
    """All of them in order: those inside the text, then those that close the step."""


@dataclass(frozen=True, slots=True)
class Trace:
    """A whole reply, read."""

    steps: tuple[Step, ...]
    verdict: Verdict | None
    verdict_citations: tuple[Citation, ...]
    reasoning: str
    """The raw text of the reasoning, tags withheld."""
    answer: str
    flags: tuple[Flag, ...]
    """In the order in which `Flag` lists them."""

    @property
    def well_formed(self) -> bool:
        """Whether the reply parses completely: tagged steps, valid clauses, a final verdict, an answer."""
        return not set(self.flags) - TOLERATED_FLAGS

    @property
    def citations(self) -> tuple[Citation, ...]:
        """Every citation of the reasoning in order, the verdict's last."""
        return (*(cited for step in self.steps for cited in step.citations), *self.verdict_citations)


@dataclass(frozen=True, slots=True)
class ReasoningText:
    """Raw reasoning as it arrives."""

    text: str


@dataclass(frozen=True, slots=True)
class StepRead:
    """A step is complete."""

    step: Step


@dataclass(frozen=True, slots=True)
class VerdictRead:
    """The reasoning is over; comes exactly once, after every step and before any answer."""

    verdict: Verdict | None
    citations: tuple[Citation, ...]
    verdicts: tuple[Verdict, ...] = field(default=(), compare=False)
    """Each that the reasoning stated, also where it does not count, in the order of its last statement."""
    demanded: frozenset[Verdict] = field(default=frozenset(), compare=False)
    """What the cited clauses demand."""


@dataclass(frozen=True, slots=True)
class AnswerText:
    """A piece of the answer."""

    text: str


Event: TypeAlias = ReasoningText | StepRead | VerdictRead | AnswerText
