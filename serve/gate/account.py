"""What the gate did with one choice, in numbers: for metrics and the audit, never for the caller.

Filled by the gate itself, from what it held and let go: an account by anybody else could be wrong.
"""

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from policies.reply import Citation, Event, Flag, StepRead, Verdict, VerdictRead
from serve.gate.hold import Hold
from serve.gate.values import Action, Objection, Ruling, Severity, Stage
from serve.ledger.interaction import ChoiceRecord, GuardRun, Scanned

REASONING, ANSWER, TOOL_CALLS = "reasoning", "answer", "tool_calls"
"""The channels of a reply."""
UNTAGGED = "untagged"
_MOST_CLAUSES = 100


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a choice is blocked."""

    action: Action
    stage: Stage
    by: str | None
    """A check's or a guard's name."""


class Account:
    """Of one choice."""

    def __init__(self, clock: Callable[[], float], holds: Mapping[str, Hold], observes: bool) -> None:
        """`clock`: seconds, monotonic. `holds` by channel: they count their characters."""
        self.verdict: Verdict | None = None
        """What the model said, delivered or not."""
        self.objections: dict[str, Severity] = {}
        """What came of it, by the name of each built-in check that objected."""
        self.cause: Cause | None = None
        """Of the block, or (observing) of the one that there would have been."""
        self.finish: str | None = None
        self.flags: tuple[Flag, ...] = ()
        """The reader's, of a reply that was read to its end."""
        self.held_s: list[float] = []
        """Seconds from the arrival of a release's oldest text to that release."""
        self.let_through: Counter[str] = Counter()
        """Characters by channel that left without having been held: while observing, all of them."""
        self._clock = clock
        self._holds = holds
        self._observes = observes
        self._arrivals: dict[str, deque[tuple[int, float]]] = {channel: deque() for channel in holds}
        self._left: Counter[str] = Counter()
        self._clauses: dict[str, None] = {}
        self._sources: Counter[str] = Counter()
        self._guards: dict[tuple[str, str, str], GuardRun] = {}

    def read(self, event: Event) -> None:
        """The model said so."""
        if isinstance(event, StepRead):
            self._sources[event.step.source or UNTAGGED] += 1
            self._cite(event.step.citations)
        elif isinstance(event, VerdictRead):
            self.verdict = event.verdict
            self._cite(event.citations)

    def arrived(self, channel: str) -> None:
        """Text was put into this channel."""
        self._arrivals[channel].append((self._holds[channel].generated, self._clock()))

    def left(self, channel: str) -> None:
        """Text left this channel."""
        arrivals, released = self._arrivals[channel], self._holds[channel].released
        if arrivals and released > self._left[channel]:
            self.held_s.append(self._clock() - arrivals[0][1])
        self._left[channel] = released
        while arrivals and arrivals[0][0] <= released:
            arrivals.popleft()

    def ruled(self, ruling: Ruling) -> None:
        """Guards looked at an excerpt."""
        for run in ruling.runs:
            key = (run.guard, run.stage, run.status)
            so_far = self._guards.get(key, replace(run, excerpts=0, elapsed_s=0.0))
            self._guards[key] = replace(
                run, excerpts=so_far.excerpts + run.excerpts, elapsed_s=so_far.elapsed_s + run.elapsed_s
            )

    def objected(self, objection: Objection) -> None:
        """A built-in check spoke; of a check that objects again, the graver word stays."""
        if self.objections.get(objection.check) is not Severity.BLOCK:
            self.objections[objection.check] = objection.severity

    @property
    def action(self) -> Action:
        """What the gateway did."""
        return self.cause.action if self.cause and not self._observes else "none"

    @property
    def would(self) -> Action | None:
        """While observing: what enforcing would have done, if anything."""
        return self.cause.action if self.cause and self._observes else None

    @property
    def scanned(self) -> dict[str, Scanned]:
        """Characters by channel; of tool calls, as they were shown to guards."""
        return {channel: self._scanned(channel) for channel in self._holds if self._generated(channel)}

    @property
    def guards(self) -> tuple[GuardRun, ...]:
        """By guard, stage and status."""
        return tuple(self._guards.values())

    def record(self) -> ChoiceRecord:
        """The audit's row of this choice."""
        return ChoiceRecord(
            verdict=self.verdict,
            action=self.action,
            would=self.would,
            finish=self.finish if self.action == "none" else "content_filter",
            clauses=tuple(self._clauses),
            sources=dict(self._sources),
            flags=self.flags,
            objections=tuple(self.objections),
            scanned=self.scanned,
        )

    def _cite(self, citations: tuple[Citation, ...]) -> None:
        for citation in citations[: _MOST_CLAUSES - len(self._clauses)]:
            self._clauses[citation.clause] = None

    def _generated(self, channel: str) -> int:
        return self.let_through[channel] or self._holds[channel].generated

    def _scanned(self, channel: str) -> Scanned:
        hold = self._holds[channel]
        return Scanned(self._generated(channel), hold.examined, self.let_through[channel] or hold.released)
