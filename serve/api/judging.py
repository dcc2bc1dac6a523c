"""What moderations and the guardrail have in common: a request that is judged, and answered in a few words.

Each has its turn, ends with its caller, and leaves an audit row. Knows neither's words.
"""

import asyncio
import hashlib
import json
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from fastapi import Request
from starlette.responses import Response
from starlette.types import Scope

from policies.reply import Source
from serve.adapters.registry import Route
from serve.api.asking import CallerLeft, read_body
from serve.api.handling import handling_of
from serve.api.parts import Parts, parts_of
from serve.api.safety import UNTAGGED
from serve.api.wire import AsciiResponse, nobody
from serve.door.caller import Caller, caller_of
from serve.door.pictures import Picture
from serve.door.presence import while_present
from serve.errors import GatewayError, InternalFailure, InvalidRequest
from serve.gate.own import Judgement, OwnJudge
from serve.gate.values import Mode, Stage
from serve.ledger.interaction import ChoiceRecord, GuardRun, Interaction
from serve.observe.requests import RequestRecord, record_of

Json = dict[str, Any]
_MATERIAL = "messages[0].content"


def judge_of(scope: Scope) -> OwnJudge:
    """That of the gateway that this request came to."""
    return cast(OwnJudge, scope["state"]["judge"])


@dataclass(frozen=True, slots=True)
class Material:
    """One text with its pictures, as the model gets them."""

    text: str
    images: tuple[Json, ...]
    pictures: tuple[Picture, ...]


@dataclass(slots=True)
class Hearing:
    """One request to judge, and how it went."""

    api: Literal["moderations", "guardrail"]
    parts: Parts
    judge: OwnJudge
    caller: Caller
    record: RequestRecord
    route: Route
    at: float
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    judgements: list[Judgement] = field(default_factory=list)
    runs: list[GuardRun] = field(default_factory=list)
    picture_digests: list[str] = field(default_factory=list)
    action: str = "none"
    would: str | None = None
    """While observing: the action that enforcing would have taken, if any."""
    request_digest: str = ""
    reply_digest: str = ""
    queued_s: float = 0.0
    waited_s: float = 0.0
    """For the model and for guards; what was waited for at the same time counts once."""
    status: int = InternalFailure.status
    """Until it is known how it ended, it was a bug of ours."""
    outcome: str = InternalFailure.code
    _waits: int = 0
    _waits_since: float = 0.0

    def leave(self) -> None:
        """The caller has left."""
        self.status, self.outcome = 499, "aborted"

    def fail(self, error: GatewayError) -> None:
        """The caller is told so."""
        self.status, self.outcome = error.status, error.code

    @property
    def mode(self) -> Mode:
        """The one that holds for the key."""
        return handling_of(self.parts.gate, self.caller, self.route.version).mode

    def may_block(self, stage: Stage) -> bool:
        """Whether the objection that was found is a block; while observing it is only noted."""
        if self.mode is not Mode.OBSERVE:
            self.action = "withheld"
            return True
        self.would = "withheld"
        self.parts.records.would_block(self.route.alias, stage)
        return False

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """While somebody else is at it."""
        if not self._waits:
            self._waits_since = time.perf_counter()
        self._waits += 1
        try:
            yield
        finally:
            self._waits -= 1
            if not self._waits:
                self.waited_s += time.perf_counter() - self._waits_since

    async def admitted(self, content: Sequence[Any], where: str) -> Material:
        """Parts of a message, checked, pictures drawn anew; raises InvalidRequest that names `where`."""
        try:
            admitted = await self.parts.admit([{"role": "user", "content": list(content)}])
        except InvalidRequest as error:
            named = type(error)(error.message.replace(_MATERIAL, where))
            named.param = error.param and error.param.replace(_MATERIAL, where)
            raise named from error
        parts = admitted.messages[0]["content"]
        self.picture_digests += [picture.digest for picture in admitted.pictures]
        return Material(
            text="\n".join(part["text"] for part in parts if part["type"] == "text"),
            images=tuple(part for part in parts if part["type"] == "image_url"),
            pictures=admitted.pictures,
        )

    async def judged(self, material: Material, route: Route | None = None) -> Judgement:
        """By our model; raises Undecided, InvalidRequest, and what the engines raise."""
        with self.waiting():
            judgement = await self.judge.judge(material.text, material.images, self.record.request_id, route)
        self.judgements.append(judgement)
        return judgement

    @property
    def used_tokens(self) -> int | None:
        """Of all judgements; None where an engine did not count."""
        return self._tokens("total_tokens") if self.judgements else 0

    def close(self) -> None:
        """The log line's fields and the audit row."""
        self.log()
        self.parts.ledger.write(self._row())

    def log(self) -> None:
        """The log line's fields."""
        self.record.fields |= {
            "api": self.api,
            "alias": self.route.alias,
            "adapter": self.route.version.adapter,
            "outcome": self.outcome,
            "verdicts": [judgement.verdict for judgement in self.judgements],
            "action": self.action,
        }

    def _row(self) -> Interaction:
        duration_s = self.record.elapsed_s
        return Interaction(
            id=self.id,
            at=self.at,
            request_id=self.record.request_id,
            key_id=self.caller.key_id,
            api=self.api,
            alias=self.route.alias,
            adapter=self.route.version.adapter,
            policy_digest=self.parts.catalog.digest,
            mode=self.mode.word,
            stream=False,
            status=self.status,
            outcome=self.outcome,
            choices=tuple(_choice(judgement, self.action, self.would) for judgement in self.judgements),
            guards=tuple(self.runs),
            prompt_tokens=self._tokens("prompt_tokens"),
            completion_tokens=self._tokens("completion_tokens"),
            reasoning_tokens=None,
            tokens_counted_by="engine" if self._tokens("prompt_tokens") is not None else None,
            first_token_s=None,
            duration_s=duration_s,
            queued_s=self.queued_s,
            overhead_s=max(0.0, duration_s - self.queued_s - self.waited_s),
            request_digest=self.request_digest,
            picture_digests=tuple(self.picture_digests),
            reply_digest=self.reply_digest,
        )

    def _tokens(self, kind: str) -> int | None:
        counted = [judgement.usage.get(kind) for judgement in self.judgements]
        numbers = [count for count in counted if isinstance(count, int)]
        return sum(numbers) if numbers and len(numbers) == len(counted) else None


async def heard(
    request: Request,
    api: Literal["moderations", "guardrail"],
    answer: Callable[[Json, Hearing], Awaitable[Json]],
) -> Response:
    """The answer to one request; raises GatewayError."""
    parts, judge, record = parts_of(request.scope), judge_of(request.scope), record_of(request.scope)
    try:
        body = await read_body(request.receive)
    except CallerLeft:
        parts.records.left(record)
        return nobody()
    at = time.time() - record.elapsed_s
    hearing = Hearing(api, parts, judge, caller_of(request.scope), record, judge.route, at)
    hearing.request_digest = body.digest
    _check_room(hearing)
    told: list[Json] = []

    async def work() -> None:
        async with parts.turns.admitted(hearing.caller) as place:
            hearing.queued_s = place.queued_s
            try:
                told.append(await answer(body.fields, hearing))
            finally:
                place.used_tokens = hearing.used_tokens

    try:
        if not await while_present(request.receive, work(), parts.deadline):
            hearing.leave()
            return nobody()
        hearing.status, hearing.outcome = 200, "ok"
        hearing.reply_digest = hashlib.sha256(json.dumps(told[0]).encode()).hexdigest()
        return AsciiResponse(told[0])
    except asyncio.CancelledError:
        hearing.leave()
        raise
    except GatewayError as error:
        hearing.fail(error)
        raise
    finally:
        hearing.close()


def _check_room(hearing: Hearing) -> None:
    """As `Records.turn_away`: whoever is refused for want of room leaves no row."""
    try:
        hearing.parts.ledger.check_room()
    except GatewayError as error:
        hearing.fail(error)
        hearing.log()
        raise


def _choice(judgement: Judgement, action: str, would: str | None) -> ChoiceRecord:
    trace = judgement.trace
    sources = Counter(step.source or UNTAGGED for step in trace.steps)
    return ChoiceRecord(
        verdict=judgement.verdict,
        action=action,
        would=would,
        finish="stop",
        clauses=judgement.clauses,
        sources={name: sources[name] for name in (*Source, UNTAGGED)},
        flags=tuple(trace.flags),
        objections=(),
        scanned={},
    )
