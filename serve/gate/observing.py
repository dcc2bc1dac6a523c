"""A gate that lets everything through, and notes in the account what enforcing would have done."""

import asyncio
import sys
from collections.abc import Callable, Sequence

from policies.reply import AnswerText, Event, ReasoningText, Trace
from serve.gate.account import ANSWER, REASONING, TOOL_CALLS, Account
from serve.gate.calls import CallsUnderWay
from serve.gate.delivered import Delivered
from serve.gate.gate import Gate, GateSizes
from serve.gate.values import (
    Blocked,
    Conversation,
    Handling,
    Json,
    Mode,
    Out,
    Panel,
    Ruling,
    ToolCalls,
)

_NONE: frozenset[asyncio.Future[Ruling]] = frozenset()


class ObservingGate:
    """`Gate`'s interface around a gate whose word is only noted. Nothing is held but tool calls' pieces."""

    def __init__(self, inner: Gate) -> None:
        self.blocked: Blocked | None = None
        """Never."""
        self.is_done = False
        """Ended."""
        self.is_full = False
        """Never."""
        self.pending = _NONE
        """Nobody has to wait."""
        self.delivered = Delivered()
        self._inner = inner
        self._calls = CallsUnderWay(most_chars=sys.maxsize)

    @property
    def account(self) -> Account:
        """The inner gate's: its cause tells what would have been done."""
        return self._inner.account

    @property
    def outstanding(self) -> frozenset[asyncio.Future[Ruling]]:
        """Rulings that `ruled` may still take in, after the caller has everything."""
        return self._inner.pending

    def take(self, events: Sequence[Event]) -> list[Out]:
        """All of it, as it came."""
        for event in events:
            self._let_through(event)
        self._inner.take(events)
        outs: list[Out] = [*events]
        self.delivered.add(outs)
        return outs

    def hold_tool_calls(self, deltas: Sequence[Json]) -> None:
        """Whole calls leave at the end, here too."""
        self._calls.add(deltas)
        self._inner.hold_tool_calls(deltas)

    def end(self, trace: Trace, finish_reason: str, beside: str = "") -> list[Out]:
        """The rest: tool calls, if there are any."""
        self._inner.end(trace, finish_reason, beside)
        self.is_done = True
        outs: list[Out] = [ToolCalls(self._calls.whole())] if self._calls else []
        if outs:
            self.account.let_through[TOOL_CALLS] = len(self._calls.spelled())
        self.delivered.add(outs)
        self.delivered.complete(trace)
        return outs

    def ruled(self) -> list[Out]:
        """Takes in the rulings that are there; nothing is held, so nothing leaves."""
        self._inner.ruled()
        return []

    def _let_through(self, event: Event) -> None:
        match event:
            case ReasoningText(text):
                self.account.let_through[REASONING] += len(text)
            case AnswerText(text):
                self.account.let_through[ANSWER] += len(text)
            case _ if self._inner.blocked:
                # A gate that has blocked reads no further, and the audit is to know what was said.
                self.account.read(event)


def gate_for(
    handling: Handling,
    panel: Panel,
    about: Conversation,
    admission: asyncio.Future[Ruling] | None,
    sizes: GateSizes,
    clock: Callable[[], float],
) -> Gate | ObservingGate:
    """The gate of one choice, by the handling's mode."""
    gate = Gate(handling, panel, about, admission, sizes, clock)
    return ObservingGate(gate) if handling.mode is Mode.OBSERVE else gate
