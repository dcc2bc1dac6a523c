"""The gate of one choice: events of the reader in, what may leave out. No I/O, no clock of its own, no task.

The order in which a caller gets a reply is the order in which it may leave: nothing before the request itself
was judged, no answer while reasoning is held, no tool call while any answer is. Whatever is examined is
examined at once, though, so that guards work beside one another. A block is the same however the reply was
cut and whenever rulings came: a refusal of ours takes an answer's place only once all before it has passed.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from policies.reply import AnswerText, Event, ReasoningText, StepRead, Trace, Verdict, VerdictRead
from policies.trimming import MAX_TEXT_CHARS
from serve.gate.account import ANSWER, REASONING, TOOL_CALLS, Account, Cause
from serve.gate.calls import CallsUnderWay
from serve.gate.checks import Checks
from serve.gate.delivered import Delivered
from serve.gate.hold import Hold
from serve.gate.sentences import sentence_end
from serve.gate.values import (
    Blocked,
    Conversation,
    Excerpt,
    Handling,
    Json,
    Mode,
    Objection,
    Out,
    Panel,
    Ruling,
    Severity,
    Stage,
    ToolCalls,
)

OVERFLOW = "overflow"
"""Stands for a guard's name where more is held than can be."""
_NONE: frozenset[asyncio.Future[Ruling]] = frozenset()


@dataclass(frozen=True, slots=True)
class GateSizes:
    """As in the settings (`GateSettings`), in characters."""

    window_chars: int = 160
    most_step_chars: int = 2000
    most_held_chars: int = 65536


Asked: TypeAlias = asyncio.Future[Ruling] | Cause


class _Channel:
    """A hold, and what is said of the excerpt that is due there."""

    def __init__(self, name: str, stage: Stage, hold: Hold) -> None:
        self.name = name
        self.stage = stage
        self.hold = hold
        self.asked: Asked | None = None
        """None: nobody was asked about it yet."""

    @property
    def ruling(self) -> asyncio.Future[Ruling] | None:
        """Whose ruling is waited for."""
        return self.asked if asyncio.isfuture(self.asked) else None


class Gate:
    """Made per choice. `take` for every batch, `end` once, `ruled` whenever a pending ruling is there."""

    def __init__(
        self,
        handling: Handling,
        panel: Panel,
        about: Conversation,
        admission: asyncio.Future[Ruling] | None,
        sizes: GateSizes,
        clock: Callable[[], float],
    ) -> None:
        """Until `admission` (of input and pictures; None: nothing to wait for) passes, nothing leaves.

        `clock`: seconds, monotonic; only for the account.
        """
        self.blocked: Blocked | None = None
        """Set once and for all by a block, which is also the last `Out`."""
        self.delivered = Delivered()
        self._panel = panel
        self._about = about
        self._admission = admission
        self._sizes = sizes
        self._checks = Checks(handling)
        whole = handling.mode is Mode.STRICTER
        self._reasoning = self._channel(REASONING, Stage.REASONING, sizes.most_step_chars, whole)
        self._answer = self._channel(ANSWER, Stage.ANSWER, sizes.window_chars, whole)
        self._calls = self._channel(TOOL_CALLS, Stage.ANSWER, sizes.window_chars, whole=True)
        self._channels = (self._reasoning, self._answer, self._calls)
        self._calls_under_way = CallsUnderWay()
        self._trace: Trace | None = None
        holds = {channel.name: channel.hold for channel in self._channels}
        self.account = Account(clock, holds, handling.mode is Mode.OBSERVE)

    def take(self, events: Sequence[Event]) -> list[Out]:
        """The reader's events of one batch; what may leave now."""
        outs: list[Out] = []
        for event in events:
            if self.blocked:
                break
            outs += self._on_event(event)
        return outs + self._advance()

    def hold_tool_calls(self, deltas: Sequence[Json]) -> None:
        """`delta.tool_calls` as the engine sent it; whole calls leave at the end, behind the answer."""
        if not self.blocked:
            self._calls_under_way.add(deltas)

    def end(self, trace: Trace, finish_reason: str, beside: str = "") -> list[Out]:
        """The reply is over, after the events of the reader's `close` were taken.

        `beside`: text that would leave with it in another form; it is judged as that of tool calls is.
        """
        self.account.finish, self.account.flags = finish_reason, trace.flags
        self._trace = trace
        self._calls.hold.put("\n".join(filter(None, (self._calls_under_way.spelled(), beside))))
        for channel in self._channels:
            channel.hold.end()
        return self._advance()

    def ruled(self) -> list[Out]:
        """Take in every ruling that is there by now; cheap when none is."""
        return self._advance() if any(future.done() for future in self._waiting()) else []

    @property
    def pending(self) -> frozenset[asyncio.Future[Ruling]]:
        """Rulings that something waits for; `ruled` is due when one of them is done."""
        return _NONE if self.blocked else frozenset(self._waiting())

    @property
    def is_done(self) -> bool:
        """Ended and nothing held any more, or blocked."""
        return self.blocked is not None or (self._trace is not None and self._has_left_whole)

    @property
    def is_full(self) -> bool:
        """So much is held for pending rulings that the engine should not be read before one is there."""
        return self._held >= self._sizes.most_held_chars and bool(self.pending)

    def _channel(self, name: str, stage: Stage, most_chars: int, whole: bool) -> _Channel:
        covered = self._panel.covers(stage)
        reach, context = (self._panel.reach, self._panel.context) if covered else (0, 0)
        return _Channel(name, stage, Hold(stage, reach, context, most_chars, whole))

    def _on_event(self, event: Event) -> list[Out]:
        self.account.read(event)
        for objection in self._checks.on_event(event):
            cause = self._cause(objection, _stage_of(event))
            if cause:
                # What came before it is not what is objected to.
                return self._advance() + self._block(cause)
        match event:
            case ReasoningText(text):
                self._put(self._reasoning, text)
            case AnswerText(text):
                self._put(self._answer, text)
            case StepRead():
                self._reasoning.hold.mark(event)
            case VerdictRead():
                self._reasoning.hold.mark(event)
                self._reasoning.hold.end()
                if event.verdict is Verdict.REFUSE:
                    self._answer.hold.cut_by(sentence_end)
        return []

    def _put(self, channel: _Channel, text: str) -> None:
        channel.hold.put(text)
        self.account.arrived(channel.name)

    def _advance(self) -> list[Out]:
        """Ask about what is due, take in what was ruled, and let go what may leave."""
        if self.blocked:
            return []
        cause = self._admit()
        has_passed = self._admission is None
        for channel in self._channels if not cause else ():
            cause = self._judge(channel, has_passed)
            if cause or isinstance(channel.asked, Cause):
                # One that has to wait for its turn comes before whatever follows it.
                break
            has_passed = has_passed and channel.hold.is_sealed
        outs = self._released()
        cause = cause or self._overflow()
        if cause:
            return outs + self._block(cause)
        if self._trace and self._has_left_whole:
            self.delivered.complete(self._trace)
        return outs

    def _judge(self, channel: _Channel, has_passed: bool) -> Cause | None:
        """Clear what nobody objects to; what blocks, if anything does."""
        while excerpt := channel.hold.due():
            if channel.asked is None:
                channel.asked = self._ask(channel, excerpt)
            asked = channel.asked
            if isinstance(asked, Cause):
                return asked if has_passed or asked.action == "withheld" else None
            if asked is not None:
                if not asked.done():
                    return None
                cause = self._ruled(channel, _said(asked))
                if cause:
                    return cause
                channel.asked = None
            channel.hold.clear(excerpt)
        return None

    def _ask(self, channel: _Channel, excerpt: Excerpt) -> Asked | None:
        """The checks, then the panel; None: nobody objects."""
        for objection in self._objections(channel, excerpt):
            cause = self._cause(objection, channel.stage)
            if cause:
                return cause
        if not excerpt.text or not self._panel.covers(channel.stage):
            return None
        ruling = self._panel.examine(excerpt, self._about)
        return self._ruled(channel, ruling) if isinstance(ruling, Ruling) else ruling

    def _objections(self, channel: _Channel, excerpt: Excerpt) -> Iterable[Objection]:
        if channel is self._answer:
            return self._checks.on_answer(excerpt)
        if channel is self._calls and self._calls_under_way:
            return self._checks.on_calls(has_answer=self._answer.hold.generated > 0)
        return ()

    def _cause(self, objection: Objection, stage: Stage) -> Cause | None:
        self.account.objected(objection)
        if objection.severity is not Severity.BLOCK:
            return None
        return Cause("replaced" if objection.replaces else "withheld", stage, objection.check)

    def _ruled(self, channel: _Channel, ruling: Ruling) -> Cause | None:
        self.account.ruled(ruling)
        return Cause("withheld", channel.stage, ruling.guard) if ruling.blocks else None

    def _admit(self) -> Cause | None:
        """Open the gate once the request itself was judged and may be answered."""
        if self._admission is None or not self._admission.done():
            return None
        ruling = _said(self._admission)
        if ruling.blocks:
            return Cause("withheld", Stage.INPUT, ruling.guard)
        self._admission = None
        return None

    def _overflow(self) -> Cause | None:
        return Cause("withheld", Stage.ANSWER, OVERFLOW) if self._held > MAX_TEXT_CHARS else None

    def _released(self) -> list[Out]:
        """What may leave, each channel behind the one before it."""
        outs: list[Out] = []
        if self._admission is None:
            outs += self._left(self._reasoning)
            if self._reasoning.hold.is_done:
                outs += self._left(self._answer)
            if self._answer.hold.is_done:
                outs += self._calls_left()
            self.delivered.add(outs)
        return outs

    def _calls_left(self) -> list[Out]:
        """Their text was for guards; they leave as what they are."""
        hold = self._calls.hold
        if hold.is_done or not hold.is_sealed:
            return []
        hold.take()
        return [ToolCalls(self._calls_under_way.whole())] if self._calls_under_way else []

    def _left(self, channel: _Channel) -> list[Out]:
        outs: list[Out] = [*channel.hold.take()]
        if outs:
            self.account.left(channel.name)
        return outs

    def _block(self, cause: Cause) -> list[Out]:
        if self.blocked:
            return []
        self.blocked = Blocked("replaced" if cause.action == "replaced" else "withheld")
        self.account.cause = cause
        for channel in self._channels:
            channel.hold.drop()
        self.delivered.add([self.blocked])
        return [self.blocked]

    def _waiting(self) -> Iterator[asyncio.Future[Ruling]]:
        if self._admission is not None:
            yield self._admission
        yield from (channel.ruling for channel in self._channels if channel.ruling is not None)

    @property
    def _held(self) -> int:
        return self._reasoning.hold.held + self._answer.hold.held + self._calls_under_way.chars

    @property
    def _has_left_whole(self) -> bool:
        return self._reasoning.hold.is_done and self._answer.hold.is_done and self._calls.hold.is_done


def _stage_of(event: Event) -> Stage:
    return Stage.ANSWER if isinstance(event, AnswerText) else Stage.REASONING


def _said(ruling: asyncio.Future[Ruling]) -> Ruling:
    """One that was given up was not passed."""
    return Ruling(blocks=True, failed=True) if ruling.cancelled() else ruling.result()
