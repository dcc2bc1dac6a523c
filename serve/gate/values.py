"""The words of the gate: what is shown to guards, what they say, what may leave. Values only."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, Final, Literal, Protocol, TypeAlias

from policies.reply import AnswerText, ReasoningText, StepRead, VerdictRead
from serve.ledger.interaction import GuardRun

Json = dict[str, Any]


class Mode(IntEnum):
    """How strictly a reply is handled; ordered, because a request may only ask for more."""

    OBSERVE = 0
    """Everything is released as it comes; what a gate would have done is noted."""
    ENFORCE = 1
    """No character leaves before it was scanned."""
    STRICTER = 2
    """No character of a channel leaves before the whole channel was scanned, and every check blocks."""

    @classmethod
    def of(cls, name: str) -> "Mode":
        """By its name in settings and requests; KeyError for any other."""
        return cls[name.upper()]

    @property
    def word(self) -> str:
        """Its name in settings, requests and audit rows."""
        return self.name.lower()


Action = Literal["none", "withheld", "replaced"]
"""What the gateway did, as opposed to the verdict, which is what the model said."""
TraceShown = Literal["full", "steps", "none"]


class Stage(StrEnum):
    """What a guard looks at. Names and arguments of tool calls are shown as ANSWER."""

    INPUT = "input"
    IMAGE = "image"
    REASONING = "reasoning"
    ANSWER = "answer"


class Severity(StrEnum):
    """What comes of an objection."""

    FLAG = "flag"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class Excerpt:
    """What a guard is shown: new text behind enough of the old to see what crosses the border."""

    stage: Stage
    text: str
    start: int
    """Offset of `text[0]` in its channel, in characters."""
    fresh: int
    """Index in `text` of the first character that was in no earlier excerpt."""
    final: bool
    """Nothing follows in this channel."""
    picture: bytes | None = None
    """IMAGE only: the very PNG that the engine gets."""

    @property
    def end(self) -> int:
        """Offset behind its last character."""
        return self.start + len(self.text)


@dataclass(frozen=True, slots=True)
class Ruling:
    """What the panel says of one excerpt."""

    blocks: bool
    guard: str | None = None
    """Who objected: for log, audit and metrics, never for the caller."""
    category: str | None = None
    """From the guard's closed set."""
    failed: bool = False
    """A guard could not judge, and this ruling is its `on_error`."""
    runs: tuple[GuardRun, ...] = ()
    """What every guard did that was asked: for the audit."""


PASS = Ruling(blocks=False)


@dataclass(frozen=True, slots=True)
class Objection:
    """What a built-in check says."""

    check: str
    severity: Severity
    replaces: bool = False
    """The model meant to refuse: a refusal of ours stands in for its answer."""


@dataclass(frozen=True, slots=True)
class ToolCalls:
    """Whole calls, merged by their index."""

    calls: tuple[Json, ...]


@dataclass(frozen=True, slots=True)
class Blocked:
    """Nothing more of this choice leaves."""

    action: Literal["withheld", "replaced"]


Out: TypeAlias = ReasoningText | StepRead | VerdictRead | AnswerText | ToolCalls | Blocked
"""What leaves the gate, in the order in which a caller gets it."""


MOST_OF_A_REQUEST: Final = 16
"""Excerpts of one request that a guard is asked about at a time: a long one leaves room for others."""


@dataclass(slots=True)
class Attendance:
    """What one guard has to do with one request."""

    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_OF_A_REQUEST))
    failures: int = 0
    """How often in a row it did not answer."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a guard may know of the request it judges a part of."""

    asked: str
    """The last text of the user."""
    pictures: tuple[bytes, ...]
    """As PNG."""
    alias: str
    request_id: str
    attendances: defaultdict[str, Attendance] = field(
        default_factory=lambda: defaultdict(Attendance), init=False, compare=False, repr=False
    )
    """By the guard's name; for the panel."""


@dataclass(frozen=True, slots=True)
class Handling:
    """How one request is handled: the strictest of gateway, key and request. Made in `api/handling.py`."""

    mode: Mode
    shown: TraceShown = "full"
    requires_trace: bool = True
    """Whether an answer without steps and verdict is held back."""
    has_picture: bool = False
    severities: Mapping[str, Severity] = field(default_factory=dict)
    """By the check's name; every check is there."""


class Panel(Protocol):
    """Every guard, behind one question. `reach` and `context` are fixed for its life."""

    reach: int
    """Characters at the end of unfinished text that no clean excerpt may release."""
    context: int
    """Characters of old text that are shown again; more than `reach`."""

    def covers(self, stage: Stage) -> bool:
        """Whether any guard looks at this stage."""

    def window_chars(self, stage: Stage) -> int:
        """New characters that guards of this stage want to be shown at a time; 0: any number will do."""

    def examine(self, excerpt: Excerpt, about: Conversation) -> "Ruling | asyncio.Future[Ruling]":
        """Never raises, nor does the future: a guard that fails or is late rules by its `on_error`."""
