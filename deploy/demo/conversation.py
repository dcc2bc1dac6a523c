"""One case asked, its reply printed while it arrives, and judged: is it well formed, is it as expected?"""

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field

from groundrule import Event, Finished, Groundrule, Reply, Step, StepRead
from groundrule.show import ReplyPrinter
from rich.console import Console
from rich.text import Text

from deploy.demo.cases import Case
from deploy.demo.plan import Plan

_COMPLETE = frozenset({"stop", "content_filter"})


@dataclass(frozen=True, slots=True)
class Outcome:
    """One reply, and what is wrong with it."""

    reply: Reply
    faults: tuple[str, ...]
    """Empty: it is well formed."""


@dataclass(slots=True)
class _Clock:
    """When a stream's first and last event came, seconds after it was asked for."""

    start: float = field(default_factory=time.monotonic)

    first_s: float = 0.0
    last_s: float = 0.0

    def timed(self, events: Iterator[Event]) -> Iterator[Event]:
        for event in events:
            self.last_s = time.monotonic() - self.start
            self.first_s = self.first_s or self.last_s
            yield event

    def tokens_per_second(self, tokens: int) -> float | None:
        """Speed of generation after the first token; None when there is too little to measure."""
        span_s = self.last_s - self.first_s
        return (tokens - 1) / span_s if tokens > 1 and span_s > 0 else None


def ask(console: Console, client: Groundrule, plan: Plan, case: Case) -> Outcome:
    """Ask, print and judge."""
    console.print()
    console.print(Text.assemble(("Picture  ", "dim"), case.shows, ("  ", ""), (case.picture.name, "dim")))
    console.print(Text.assemble(("Request  ", "dim"), case.question))
    clock = _Clock()  # the request goes out in the call, not at its first event
    events = client.stream(case.question, case.picture, plan.alias, temperature=0, max_tokens=plan.max_tokens)
    steps: list[Step] = []
    reply = None
    with events, closing(ReplyPrinter(console)) as printer:
        for event in clock.timed(events):
            printer.show(event)
            match event:
                case StepRead(step):
                    steps.append(step)
                case Finished(whole):
                    reply = whole
    if reply is None:
        raise RuntimeError("a stream ended without its last event")  # the client raises before that
    outcome = Outcome(reply, tuple(find_faults(reply, steps, demands_trace=plan.adapter is not None)))
    _print_end(console, case, outcome, clock)
    return outcome


def find_faults(reply: Reply, steps: list[Step], *, demands_trace: bool) -> Iterator[str]:
    """What makes a reply malformed; an unaligned base model is not asked for a trace."""
    if reply.finish_reason not in _COMPLETE:
        yield f"the reply is not complete (finish_reason {reply.finish_reason})"
    if not reply.answer.strip():
        yield "there is no answer"
    if tuple(steps) != reply.safety.steps:
        yield "the streamed steps are not those of the whole reply"
    if not demands_trace:
        return
    if not reply.safety.steps:
        yield "there is not one step"
    if reply.verdict is None:
        yield "there is no verdict"
    if not reply.safety.well_formed:
        yield f"the trace is not well formed ({', '.join(reply.safety.flags)})"


def _print_end(console: Console, case: Case, outcome: Outcome, clock: _Clock) -> None:
    usage = outcome.reply.usage
    tokens = usage.completion_tokens if usage else 0
    speed = clock.tokens_per_second(tokens)
    pace = f", {speed:.1f} tokens per second" if speed else ""
    console.print(
        Text(f"  {tokens} tokens in {clock.last_s:.1f} s (first after {clock.first_s:.1f} s){pace}", "dim")
    )
    for fault in outcome.faults:
        console.print(Text(f"  ✗ {fault}", "bold red"))
    verdict = outcome.reply.verdict
    if verdict and verdict != case.expected:
        console.print(Text(f"  ! the picture calls for {case.expected}, the model said {verdict}", "yellow"))
