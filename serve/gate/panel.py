"""Every guard behind one question: patterns at once, the others beside one another, each within its deadline.

It never raises. A guard that is late, fails or cannot be understood rules by its `on_error`; one that has
not answered several requests in a row is left out until a probe finds it back (`serve.engine.breaker`).
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Final, Literal, TypeAlias

from policies.catalog import Catalog
from serve.engine.breaker import FAILURES, Breaker
from serve.gate.endpoint import Endpoint, open_guard_session, prepared
from serve.gate.guard import Guard, GuardFailed
from serve.gate.patterns import Patterns, trimmed
from serve.gate.values import PASS, Attendance, Conversation, Excerpt, Ruling, Stage
from serve.ledger.interaction import GuardRun
from serve.observe.metrics import Metrics
from serve.options.gate import EndpointGuard, GuardSettings, PatternGuard

_log = logging.getLogger(__name__)
MOST_AT_ONCE: Final = 64
"""Excerpts that one guard is asked about at a time, by all requests together."""
MOST_DEADLINES: Final = 10
"""How many of its deadlines an excerpt waits for its turn."""
Status: TypeAlias = Literal["passed", "blocked", "failed", "late", "not_run"]


class Attended:
    """A guard that has to be waited for, with its deadline, its breaker and its `on_error`."""

    def __init__(
        self,
        guard: Guard,
        *,
        deadline_s: float,
        on_error: Literal["block", "pass"],
        metrics: Metrics,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.name = guard.name
        self.stages = guard.stages
        self._guard = guard
        self._deadline_s = deadline_s
        self._instead = Ruling(blocks=on_error == "block", guard=guard.name, failed=True)
        self._metrics = metrics
        self._clock = clock
        self._breaker = Breaker(clock)
        self._turns = asyncio.Semaphore(MOST_AT_ONCE)

    async def rule(self, excerpt: Excerpt, about: Conversation) -> tuple[Ruling, GuardRun]:
        """What holds, and how it came about."""
        patience_s = MOST_DEADLINES * self._deadline_s
        try:
            async with (
                asyncio.timeout(patience_s) as waiting,
                about.attendances[self.name].turns,
                self._turns,
            ):
                waiting.reschedule(None)  # its turn has come, and from here on its own deadline counts
                return await self._asked(excerpt, about)
        except TimeoutError:
            self._tell(excerpt.stage, "late", f"no turn within {patience_s:g} s", about)
            return self._instead, self._run(excerpt.stage, "late", 0.0)

    async def _asked(self, excerpt: Excerpt, about: Conversation) -> tuple[Ruling, GuardRun]:
        attendance = about.attendances[self.name]
        if attendance.failures >= FAILURES or not self._breaker.allows():
            return self._instead, self._run(excerpt.stage, "not_run", 0.0)
        is_probe = self._breaker.is_open
        began = self._clock()
        status: Status
        try:
            async with asyncio.timeout(self._deadline_s):
                ruling = await self._guard.judge(excerpt, about)
        except TimeoutError:
            status, ruling = "late", self._instead
            self._note(attendance, answered=False, is_probe=is_probe)
            self._tell(excerpt.stage, status, f"no verdict within {self._deadline_s:g} s", about)
        except GuardFailed as error:
            status, ruling = "failed", self._instead
            # One that answers is there, and whoever can make it stumble must not have it left out for others.
            self._note(attendance, answered=not error.is_gone, is_probe=is_probe)
            self._tell(excerpt.stage, status, str(error), about)
        else:
            status = "blocked" if ruling.blocks else "passed"
            self._note(attendance, answered=True, is_probe=is_probe)
        elapsed_s = self._clock() - began
        self._metrics.guard_seconds.labels(self.name).observe(elapsed_s)
        return ruling, self._run(excerpt.stage, status, elapsed_s)

    def _note(self, attendance: Attendance, *, answered: bool, is_probe: bool) -> None:
        """However many excerpts of one request are not answered, for all others that is one failure: else
        whoever sends many that take long would have the guard left out for everybody."""
        if answered:
            attendance.failures = 0
            self._breaker.succeeded()
            return
        attendance.failures += 1
        if attendance.failures == 1 or is_probe:
            self._breaker.failed()

    def _run(self, stage: Stage, status: Status, elapsed_s: float) -> GuardRun:
        self._metrics.guard_rulings.labels(self.name, stage, status).inc()
        return GuardRun(self.name, stage, status, 1, elapsed_s)

    def _tell(self, stage: Stage, status: Status, why: str, about: Conversation) -> None:
        """Louder where text now passes that nobody judged."""
        level = logging.WARNING if self._instead.blocks else logging.ERROR
        fields = {"guard": self.name, "stage": stage, "status": status, "why": why}
        _log.log(level, "guard_failed", extra={"fields": {**fields, "request_id": about.request_id}})


@dataclass(frozen=True, slots=True)
class Wants:
    """What guards that are waited for want to be shown, in characters."""

    context: int = 0
    """Old ones."""
    window: Mapping[Stage, int] = field(default_factory=dict)
    """New ones."""


class GuardPanel:
    """All guards of a gateway (`values.Panel`)."""

    def __init__(
        self, patterns: Sequence[Patterns], attended: Sequence[Attended], wants: Wants, metrics: Metrics
    ) -> None:
        self.reach = max((one.reach for one in patterns), default=0)
        self.context = max(wants.context, self.reach + 1)
        self._window = wants.window
        self._patterns = {stage: tuple(p for p in patterns if stage in p.stages) for stage in Stage}
        self._attended = {stage: tuple(a for a in attended if stage in a.stages) for stage in Stage}
        self._metrics = metrics
        self._asking: set[asyncio.Task[Ruling]] = set()

    def covers(self, stage: Stage) -> bool:
        """Whether any guard looks at this stage."""
        return bool(self._patterns[stage] or self._attended[stage])

    def waits(self, stage: Stage) -> bool:
        """Whether a guard of this stage has to be waited for."""
        return bool(self._attended[stage])

    def window_chars(self, stage: Stage) -> int:
        """New characters that guards of this stage want to be shown at a time; 0: any number will do."""
        return self._window.get(stage, 0)

    def examine(self, excerpt: Excerpt, about: Conversation) -> "Ruling | asyncio.Future[Ruling]":
        """A ruling at once where patterns object or nobody else looks; else a future, which never raises."""
        runs = []
        for patterns in self._patterns[excerpt.stage]:
            ruling = patterns.judge(trimmed(excerpt, patterns.reach + 1))
            status: Status = "blocked" if ruling.blocks else "passed"
            self._metrics.guard_rulings.labels(patterns.name, excerpt.stage, status).inc()
            runs.append(GuardRun(patterns.name, excerpt.stage, status, 1, 0.0))
            if ruling.blocks:
                return _with_runs(ruling, runs)
        attended = self._attended[excerpt.stage]
        if not attended:
            return _with_runs(PASS, runs)
        asking = asyncio.create_task(_first_objection(attended, excerpt, about, runs))
        # A loop holds its tasks weakly.
        self._asking.add(asking)
        asking.add_done_callback(self._asking.discard)
        return asking

    async def close(self) -> None:
        """Whatever is still asked is not waited for."""
        asking = tuple(self._asking)
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)


async def _first_objection(
    attended: Iterable[Attended], excerpt: Excerpt, about: Conversation, runs: list[GuardRun]
) -> Ruling:
    """All are asked at once; the first that objects decides, and the others are not waited for."""
    asking = [asyncio.create_task(one.rule(excerpt, about)) for one in attended]
    ruling = PASS
    try:
        for asked in asyncio.as_completed(asking):
            said, run = await asked
            runs.append(run)
            if said.blocks:
                return _with_runs(said, runs)
            # That a guard let it pass without judging is told, unless another one objects.
            ruling = said if said.failed else ruling
    finally:
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
    return _with_runs(ruling, runs)


def _with_runs(ruling: Ruling, runs: Iterable[GuardRun]) -> Ruling:
    return Ruling(ruling.blocks, ruling.guard, ruling.category, ruling.failed, tuple(runs))


def check_guards(guards: Iterable[GuardSettings], catalog: Catalog) -> None:
    """Raises GuardRefused where one must not be used: before anything is started."""
    for one in guards:
        if isinstance(one, PatternGuard):
            Patterns(one)
        else:
            prepared(one, catalog)


@asynccontextmanager
async def open_panel(
    guards: Sequence[GuardSettings], catalog: Catalog, metrics: Metrics
) -> AsyncIterator[GuardPanel]:
    """Every guard of the settings, until the context is left. Raises GuardRefused."""
    patterns = [Patterns(one) for one in guards if isinstance(one, PatternGuard)]
    endpoints = [prepared(one, catalog) for one in guards if isinstance(one, EndpointGuard)]
    async with open_guard_session() as session:
        attended = [
            Attended(
                Endpoint(one, session),
                deadline_s=one.settings.deadline_s,
                on_error=one.settings.on_error,
                metrics=metrics,
            )
            for one in endpoints
        ]
        panel = GuardPanel(patterns, attended, _wants([one.settings for one in endpoints]), metrics)
        try:
            yield panel
        finally:
            await panel.close()


def _wants(endpoints: Sequence[EndpointGuard]) -> Wants:
    return Wants(
        context=max((one.context_chars for one in endpoints), default=0),
        window={
            stage: max((one.window_chars for one in endpoints if stage in one.stages), default=0)
            for stage in Stage
        },
    )
