"""What has left the gate, as a trace: the only source of plain bodies and of `safety`.

So a plain answer, a stream and what is said about them cannot disagree. Kept up to the reader's caps, as the
reader's own trace is.
"""

from collections.abc import Sequence

from policies.reply import (
    AnswerText,
    Flag,
    ReasoningText,
    Step,
    StepRead,
    Trace,
    VerdictRead,
)
from policies.steps import MAX_STEPS
from policies.trimming import TrimmedText
from serve.gate.values import Action, Blocked, Json, Out, ToolCalls
from serve.gate.wording import refusal_of


class Delivered:
    """Told of everything that leaves."""

    def __init__(self) -> None:
        self.tool_calls: tuple[Json, ...] = ()
        """Whole calls."""
        self.blocked: Blocked | None = None
        self._reasoning = TrimmedText()
        self._answer = TrimmedText()
        self._steps: list[Step] = []
        self._has_more_steps = False
        self._verdict: VerdictRead | None = None
        self._read: Trace | None = None

    def add(self, outs: Sequence[Out]) -> None:
        """What leaves now."""
        for out in outs:
            match out:
                case ReasoningText(text):
                    self._reasoning.write(text)
                case AnswerText(text):
                    self._answer.write(text)
                case StepRead(step):
                    self._add_step(step)
                case VerdictRead():
                    self._verdict = out
                case ToolCalls(calls):
                    self.tool_calls += calls
                case Blocked():
                    self.blocked = out

    def complete(self, read: Trace) -> None:
        """Everything has left, so the reader's flags are true of it."""
        self._read = read

    @property
    def trace(self) -> Trace:
        """What left, and nothing else. Its flags after a block are those of what left."""
        verdict = self._verdict
        return Trace(
            steps=tuple(self._steps),
            verdict=verdict.verdict if verdict else None,
            verdict_citations=verdict.citations if verdict else (),
            reasoning=self._reasoning.text(),
            answer=self._answer.text(),
            flags=self._read.flags if self._read else self._flags(),
        )

    @property
    def action(self) -> Action:
        """What the gateway did."""
        return self.blocked.action if self.blocked else "none"

    @property
    def refusal(self) -> str | None:
        """The sentence that stands in for what was held back."""
        return refusal_of(self.blocked) if self.blocked else None

    def _add_step(self, step: Step) -> None:
        if len(self._steps) < MAX_STEPS:
            self._steps.append(step)
        else:
            self._has_more_steps = True

    def _flags(self) -> tuple[Flag, ...]:
        """Not `empty_answer`, `unclosed_answer` and their like: they would describe our own cut."""
        cited = [citation for step in self._steps for citation in step.citations]
        found = {
            Flag.UNTAGGED_STEP: any(step.source is None for step in self._steps),
            Flag.TRACE_TRUNCATED: self._has_more_steps or self._reasoning.truncated or self._answer.truncated,
            Flag.INVALID_CLAUSE: not all(citation.valid for citation in cited),
        }
        return tuple(flag for flag in Flag if found.get(flag))
