"""What is written down of a reply when it is over, however it ended: metrics, the log line, the audit row."""

import asyncio
import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from prometheus_client import Counter, Histogram

from policies.catalog import Catalog
from serve.api.asked import Asked
from serve.api.choice import Choice
from serve.api.inputs import InputCheck
from serve.api.usage import Usage
from serve.errors import InternalFailure
from serve.gate.observing import ObservingGate
from serve.gate.values import Mode, Ruling, Stage
from serve.ledger.interaction import ChoiceRecord, Content, GuardRun, Interaction, Ledger
from serve.observe.metrics import Metrics
from serve.observe.requests import RequestRecord

Json = dict[str, Any]
MOST_LATE: Final = 256
"""Replies in mode observe whose guards have not ruled yet; beyond it their rulings are not waited for."""


@dataclass(slots=True)
class Course:
    """How one reply went; filled on the way."""

    id: str
    asked: Asked
    record: RequestRecord
    at: float
    """Unix time at which the request arrived."""
    usage: Usage = field(default_factory=Usage)
    choices: list[Choice] = field(default_factory=list)
    input_check: InputCheck = field(default_factory=InputCheck)
    picture_digests: tuple[str, ...] = ()
    messages: Json | None = None
    """Without pictures; only where the audit keeps content."""
    queued_s: float = 0.0
    waited_s: float = 0.0
    """For the engine, for guards, and for the caller to take what was sent."""
    first_text_s: float | None = None
    """From the request's arrival to the first release."""
    status: int = InternalFailure.status
    outcome: str = InternalFailure.code
    """ok, aborted, or an error's code; ours until something else is known."""

    @property
    def ended(self) -> list[Choice]:
        """Choices that came to an end, the engine's or a block."""
        return [choice for choice in self.choices if not choice.is_waiting]


class Records:
    """Writes them, each reply's once."""

    def __init__(self, metrics: Metrics, ledger: Ledger, catalog: Catalog, *, keeps_content: bool) -> None:
        self.keeps_content = keeps_content
        self._metrics = metrics
        self._ledger = ledger
        self._policy_digest = catalog.digest
        self._children: dict[tuple[Counter | Histogram, tuple[str, ...]], Any] = {}
        self._late: set[asyncio.Task[None]] = set()

    def left(self, record: RequestRecord) -> None:
        """A caller left before naming an alias."""
        self._metrics.requests.labels("none", "aborted").inc()
        record.fields["outcome"] = "aborted"

    def turn_away(self, course: Course) -> None:
        """There is no room for its row, so nothing was begun, and it leaves none: refusals that were kept
        would fill the disk of a gateway that refuses because it is full."""
        self._log(course)
        self._measure(course, course.record.elapsed_s)

    def would_block(self, alias: str, stage: Stage) -> None:
        """What somebody else's guardrail was not told, because it only observes."""
        self._of(self._metrics.would_block, alias, stage).inc()

    def close(self, course: Course) -> None:
        """The caller has what there is. Guards that only observe may still be at it: they are waited for."""
        duration_s = course.record.elapsed_s
        if course.asked.handling.mode is not Mode.OBSERVE:
            _give_up_rulings(course)
        self._log(course)
        self._measure(course, duration_s)
        outstanding = _outstanding(course.choices)
        if outstanding and len(self._late) < MOST_LATE:
            task = asyncio.create_task(self._close_later(course, duration_s))
            self._late.add(task)
            task.add_done_callback(self._late.discard)
        else:
            self._judged(course, duration_s)

    async def settled(self) -> None:
        """Every row is with the ledger: before it is closed."""
        await asyncio.gather(*self._late, return_exceptions=True)

    async def _close_later(self, course: Course, duration_s: float) -> None:
        try:
            while outstanding := _outstanding(course.choices):
                await asyncio.wait(outstanding, return_when=asyncio.FIRST_COMPLETED)
                for choice in course.choices:
                    choice.gate.ruled()
        finally:
            self._judged(course, duration_s)

    def _log(self, course: Course) -> None:
        asked, ended, usage = course.asked, course.ended, course.usage
        course.record.fields |= {
            "api": asked.api,
            "alias": asked.route.alias,
            "adapter": asked.route.version.adapter,
            "mode": asked.handling.mode.word,
            "stream": asked.stream,
            "outcome": course.outcome,
            "verdicts": [choice.gate.account.verdict for choice in ended],
            "actions": [choice.gate.delivered.action for choice in ended],
            "finishes": [
                "content_filter" if choice.gate.blocked else choice.finish_reason for choice in ended
            ],
            "flags": sorted({flag for choice in ended for flag in choice.gate.account.flags}),
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "reasoning_tokens": usage.reasoning_tokens,
        }

    def _measure(self, course: Course, duration_s: float) -> None:
        metrics, asked, alias = self._metrics, course.asked, course.asked.route.alias
        self._of(metrics.requests, alias, course.outcome).inc()
        self._of(metrics.duration, alias).observe(duration_s)
        self._of(metrics.overhead, alias, str(asked.stream).lower()).observe(_overhead_s(course, duration_s))
        self._of(metrics.tokens, alias, "prompt").inc(course.usage.prompt_tokens or 0)
        self._of(metrics.tokens, alias, "completion").inc(course.usage.completion_tokens or 0)
        if course.first_text_s is not None:
            self._of(metrics.first_token, alias).observe(course.first_text_s)
        if dropped := sum(choice.dropped for choice in course.choices):
            metrics.dropped_fields.inc(dropped)

    def _judged(self, course: Course, duration_s: float) -> None:
        """Everything that the gates have to say."""
        choices = [choice.gate.account.record() for choice in course.choices]
        for choice, record in zip(course.choices, choices, strict=True):
            self._measure_choice(course.asked.route.alias, choice, record)
        self._ledger.write(self._interaction(course, tuple(choices), duration_s))

    def _measure_choice(self, alias: str, choice: Choice, record: ChoiceRecord) -> None:
        metrics, account = self._metrics, choice.gate.account
        if not choice.is_waiting:
            metrics.observe_reply(alias, record.verdict, record.action, record.finish, record.flags)
        for check, severity in account.objections.items():
            self._of(metrics.objections, alias, check, severity).inc()
        if account.cause is not None:
            if record.would is None:
                self._of(metrics.blocks, alias, account.cause.stage, record.action).inc()
            else:
                self._of(metrics.would_block, alias, account.cause.stage).inc()
        held = self._of(metrics.held, alias)
        for seconds in account.held_s:
            held.observe(seconds)
        for channel, counts in record.scanned.items():
            for kind in ("generated", "examined", "released"):
                self._of(metrics.characters, alias, channel, kind).inc(getattr(counts, kind))

    def _of(self, metric: Counter | Histogram, *labels: str) -> Any:
        """The metric's child: `labels` takes a lock, and several times as long as a dictionary."""
        child = self._children.get((metric, labels))
        if child is None:
            child = self._children[metric, labels] = metric.labels(*labels)
        return child

    def _interaction(
        self, course: Course, choices: tuple[ChoiceRecord, ...], duration_s: float
    ) -> Interaction:
        asked, usage = course.asked, course.usage
        replies = tuple(map(_reply, course.choices))
        return Interaction(
            id=course.id,
            at=course.at,
            request_id=course.record.request_id,
            key_id=asked.caller.key_id,
            api=asked.api,
            alias=asked.route.alias,
            adapter=asked.route.version.adapter,
            policy_digest=self._policy_digest,
            mode=asked.handling.mode.word,
            stream=asked.stream,
            status=course.status,
            outcome=course.outcome,
            choices=choices,
            guards=_guards(course),
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            tokens_counted_by=usage.counted_by,
            first_token_s=course.first_text_s,
            duration_s=duration_s,
            queued_s=course.queued_s,
            overhead_s=_overhead_s(course, duration_s),
            request_digest=asked.digest,
            picture_digests=course.picture_digests,
            reply_digest=hashlib.sha256("\0".join(replies).encode(errors="surrogatepass")).hexdigest(),
            content=Content(course.messages, replies) if course.messages is not None else None,
        )


def course_of(id_: str, asked: Asked, record: RequestRecord) -> Course:
    """Of a reply that begins now."""
    return Course(id_, asked, record, at=time.time() - record.elapsed_s)


def without_pictures(messages: Sequence[Json], digests: Sequence[str]) -> Json:
    """The messages, with digests in the pictures' places."""
    left = iter(digests)
    return {
        "messages": [{**message, "content": _content(message.get("content"), left)} for message in messages]
    }


def _content(content: Any, digests: Iterator[str]) -> Any:
    if not isinstance(content, list):
        return content
    return [
        {"type": "image_url", "sha256": next(digests, None)} if part["type"] == "image_url" else part
        for part in content
    ]


def _overhead_s(course: Course, duration_s: float) -> float:
    return max(0.0, duration_s - course.queued_s - course.waited_s)


def _reply(choice: Choice) -> str:
    """What was delivered of it."""
    delivered = choice.gate.delivered
    trace = delivered.trace
    calls = [f"{call.get('function')}" for call in delivered.tool_calls]
    return "\n".join(
        text for text in (trace.reasoning, trace.answer, *calls, delivered.refusal or "") if text
    )


def _guards(course: Course) -> tuple[GuardRun, ...]:
    """By guard, stage and status; of inputs as the guards were asked, of replies as the gates were told."""
    told = [run for choice in course.choices for run in choice.gate.account.guards]
    runs: dict[tuple[str, str, str], GuardRun] = {}
    for run in (*course.input_check.runs, *told):
        known = runs.setdefault((run.guard, run.stage, run.status), run)
        if known is not run:
            excerpts, elapsed_s = known.excerpts + run.excerpts, known.elapsed_s + run.elapsed_s
            runs[run.guard, run.stage, run.status] = replace(known, excerpts=excerpts, elapsed_s=elapsed_s)
    return tuple(runs.values())


def _give_up_rulings(course: Course) -> None:
    """A reply that is over needs none: guards need not go on about a caller who has left."""
    course.input_check.end()
    for choice in course.choices:
        for ruling in choice.gate.pending:
            ruling.cancel()


def _outstanding(choices: Sequence[Choice]) -> set[asyncio.Future[Ruling]]:
    return {
        ruling
        for choice in choices
        if isinstance(choice.gate, ObservingGate)
        for ruling in choice.gate.outstanding
    }
