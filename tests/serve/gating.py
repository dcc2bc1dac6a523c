"""Gates for tests: a scripted panel behind them, a reader in front, and what came out of them."""

import asyncio
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import cycle

from policies.formats import THINK, ReasoningFormat
from policies.reply import (
    AnswerText,
    Clauses,
    Event,
    ReasoningText,
    StepRead,
    Trace,
    Verdict,
    VerdictRead,
)
from policies.trace import TraceReader
from policies.unseen import INVISIBLE
from serve.api.handling import DEFAULT_SEVERITIES
from serve.gate.gate import Gate, GateSizes
from serve.gate.observing import ObservingGate, gate_for
from serve.gate.values import (
    PASS,
    Blocked,
    Conversation,
    Excerpt,
    Handling,
    Json,
    Mode,
    Out,
    Ruling,
    Severity,
    Stage,
    ToolCalls,
)

LOOP = asyncio.new_event_loop()
"""Futures belong to a loop; this one never runs."""
LOOP.close()
ABOUT = Conversation("What is this?", (), "default", "req_1")
CLAUSES: Clauses = {
    "P01.G": None,
    "P19.D2": None,
    "P19.R3": Verdict.REFUSE,
    "P19.R4": Verdict.SAFE_COMPLETE,
    "P19.R5": Verdict.COMPLY,
}
FLAGGING = dict.fromkeys(DEFAULT_SEVERITIES, Severity.FLAG)
ENFORCE = Handling(Mode.ENFORCE, has_picture=True, severities=DEFAULT_SEVERITIES)
SCANNING = replace(ENFORCE, severities=FLAGGING)
"""Only guards block."""
_HIDDEN = re.compile(f"[{INVISIBLE}]")


def later() -> asyncio.Future[Ruling]:
    """A ruling that is not there yet."""
    # Not asyncio.Future: a library may have put another class in its place (nest_asyncio does).
    return asyncio.futures._PyFuture(loop=LOOP)  # type: ignore[attr-defined, no-any-return]


@dataclass
class ScriptedPanel:
    """Forbids patterns, and looks past invisible characters; rules at once or when it is told to."""

    patterns: tuple[str, ...] = ()
    stages: frozenset[Stage] = frozenset({Stage.REASONING, Stage.ANSWER})
    is_late: Callable[[], bool] = lambda: False
    shown: list[Excerpt] = field(default_factory=list)
    passed: list[Excerpt] = field(default_factory=list)
    waiting: list[tuple[Excerpt, "asyncio.Future[Ruling]"]] = field(default_factory=list)
    reach: int = field(init=False)
    context: int = field(init=False)

    def __post_init__(self) -> None:
        self.reach = max(map(widest, self.patterns), default=0)
        self.context = self.reach + 1

    def covers(self, stage: Stage) -> bool:
        return stage in self.stages

    def examine(self, excerpt: Excerpt, about: Conversation) -> "Ruling | asyncio.Future[Ruling]":
        assert about == ABOUT
        self.shown.append(excerpt)
        if not self.is_late():
            return self._ruling(excerpt)
        future = later()
        self.waiting.append((excerpt, future))
        return future

    def speak(self) -> None:
        """Everything that is waited for is ruled on now."""
        for excerpt, future in self.waiting:
            future.set_result(self._ruling(excerpt))
        self.waiting.clear()

    def _ruling(self, excerpt: Excerpt) -> Ruling:
        if any(self._finds(pattern, excerpt) for pattern in self.patterns):
            return Ruling(blocks=True, guard="words", category="pattern")
        self.passed.append(excerpt)
        return PASS

    def _finds(self, pattern: str, excerpt: Excerpt) -> bool:
        text, fresh = _HIDDEN.sub("", excerpt.text), len(_HIDDEN.sub("", excerpt.text[: excerpt.fresh]))
        for found in re.finditer(pattern, text):
            may_change = found.end() == len(text) and not excerpt.final
            was_seen = (found.start() == 0 and excerpt.start > 0) or found.end() <= fresh - self.reach
            if not may_change and not was_seen:
                return True
        return False


@cache
def widest(pattern: str) -> int:
    """Characters that a match has at most."""
    return int(re._parser.parse(pattern).getwidth()[1])  # type: ignore[attr-defined]


def seen_at(pattern: str, text: str) -> int | None:
    """Where the first match begins that shows once invisible characters are taken out."""
    places = [at for at, character in enumerate(text) if not _HIDDEN.match(character)]
    found = re.search(pattern, "".join(text[at] for at in places))
    return places[found.start()] if found else None


def gate_of(
    panel: ScriptedPanel | None = None,
    handling: Handling = ENFORCE,
    admission: "asyncio.Future[Ruling] | None" = None,
    clock: Callable[[], float] = lambda: 0.0,
    **sizes: int,
) -> Gate | ObservingGate:
    """A gate, by default with a clock that stands still."""
    return gate_for(handling, panel or ScriptedPanel(), ABOUT, admission, GateSizes(**sizes), clock)


@dataclass
class Passage:
    """A reply on its way through a gate."""

    gate: Gate | ObservingGate
    panel: ScriptedPanel
    outs: list[Out] = field(default_factory=list)
    generated: list[Event] = field(default_factory=list)
    trace: Trace | None = None
    on_out: Callable[["Passage"], None] = lambda passage: None

    def add(self, outs: Sequence[Out]) -> None:
        self.outs += outs
        self.on_out(self)

    def delivered(self, kind: type[ReasoningText] | type[AnswerText]) -> str:
        return texts(self.outs, kind)

    def written(self, kind: type[ReasoningText] | type[AnswerText]) -> str:
        return texts(self.generated, kind)

    @property
    def calls(self) -> list[ToolCalls]:
        return [out for out in self.outs if isinstance(out, ToolCalls)]

    @property
    def blocks(self) -> list[str]:
        return [out.action for out in self.outs if isinstance(out, Blocked)]


def texts(events: Iterable[object], kind: type[ReasoningText] | type[AnswerText]) -> str:
    """All text of one channel."""
    return "".join(event.text for event in events if isinstance(event, kind))


def pieces(text: str, sizes: Iterable[int]) -> Iterator[str]:
    """The text, cut into pieces of these sizes, over and over."""
    at, lengths = 0, cycle(sizes)
    while at < len(text):
        size = next(lengths)
        yield text[at : at + size]
        at += size


def send(
    reply: Iterable[str],
    gate: Gate | ObservingGate,
    panel: ScriptedPanel,
    *,
    calls: Sequence[Json] = (),
    speaks: Callable[[], bool] = lambda: False,
    on_out: Callable[[Passage], None] = lambda passage: None,
    format_: ReasoningFormat = THINK,
) -> Passage:
    """The whole way of one choice, as `serve.api.choice` goes it."""
    reader = TraceReader(format_, CLAUSES)
    passage = Passage(gate, panel, on_out=on_out)

    def tell(events: list[Event]) -> None:
        passage.generated += events
        passage.add(gate.take(events))
        if speaks():
            panel.speak()
        passage.add(gate.ruled())

    for piece in reply:
        tell(reader.feed(piece))
    tell(reader.close())
    gate.hold_tool_calls(calls)
    passage.trace = reader.trace
    passage.add(gate.end(reader.trace, "stop"))
    while panel.waiting:
        panel.speak()
        passage.add(gate.ruled())
    return passage


def marks(events: Iterable[object]) -> list[StepRead | VerdictRead]:
    """Steps and verdict, in order."""
    return [event for event in events if isinstance(event, StepRead | VerdictRead)]
