"""Replicas of one model, and all pools behind one door: which replica is asked, and which one after it.

A request is tried elsewhere only before its first chunk. Knows neither HTTP nor where replicas come from.
"""

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, TypeVar

from serve.adapters.registry import Route, Version
from serve.engine.call import Batch, Call, Engines, Json, Readiness
from serve.engine.choice import choose, why_not
from serve.engine.client import EngineClient, NotBegun
from serve.engine.kinds import Kind
from serve.engine.replica import Replica
from serve.engine.stream import ReplyStream
from serve.errors import EngineTimeout, EngineUnavailable, GatewayError, InvalidRequest
from serve.observe.metrics import Metrics
from serve.options.engine import EngineKind

_log = logging.getLogger(__name__)
_PAUSES_S: Final = (0.02, 0.2)
"""Between two tries, so that what was lost with a replica does not fall upon the next all at once."""
MOST_KEPT_BYTES: Final = 256 * 1024
"""A larger body is never kept for as long as a whole reply takes."""

_Answer = TypeVar("_Answer")
_Attempt = Callable[[Replica, EngineClient], Awaitable[_Answer]]


class Pool:
    """Replicas of one base model, all with the same adapters."""

    def __init__(
        self, name: str, kind: Kind, metrics: Metrics, *, tries: int = 3, reloads: bool = True
    ) -> None:
        self.name = name
        self.kind = kind
        self._metrics = metrics
        self._tries = tries
        self._reloads = reloads
        """Whether somebody gives a replica its adapters again that has lost them."""
        self._clients: dict[Replica, EngineClient] = {}

    @property
    def replicas(self) -> list[Replica]:
        """Those that may be asked, ready or not."""
        return list(self._clients)

    def add(self, replica: Replica, client: EngineClient) -> None:
        """Requests may go there once it is ready."""
        self._clients[replica] = client

    def remove(self, replica: Replica) -> None:
        """No new requests go there; those under way end by themselves."""
        self._clients.pop(replica, None)

    @asynccontextmanager
    async def stream_chat(self, call: Call) -> AsyncIterator[AsyncIterator[Batch]]:
        """As `Engines.stream_chat`."""
        replica, reply = await self._begin(call)
        del call  # it holds pictures, and the reply may take minutes
        try:
            yield reply
        finally:
            replica.in_flight -= 1
            await reply.close()

    async def _begin(self, call: Call) -> tuple[Replica, ReplyStream]:
        rest = json.dumps(self.kind.shape(call.payload)).encode()
        # A whole reply takes as long as it takes, and its request must be kept for another try until then;
        # a stream's first chunk comes soon. So what is large (it holds pictures) is always streamed.
        streams = not call.whole or not self.kind.stops_whole or len(rest) > MOST_KEPT_BYTES

        async def begin(replica: Replica, client: EngineClient) -> ReplyStream:
            head = self.kind.head(*_names(call.route.version, replica), streams=streams)
            return await client.begin_chat(_joined(head, rest), call.request_id)

        return await self._try(begin, call.affinity)

    async def tokenize(self, version: Version, body: Json, request_id: str) -> Json:
        """As `Engines.tokenize`."""
        if not self.kind.tokenizes:
            raise InvalidRequest("the engine of this model cannot tokenize", param="model")
        rest = json.dumps({name: value for name, value in body.items() if name != "model"}).encode()

        async def ask(replica: Replica, client: EngineClient) -> Json:
            head = self.kind.address(*_names(version, replica))
            return await client.tokenize(_joined(head, rest), request_id)

        replica, answer = await self._try(ask, b"")
        replica.in_flight -= 1
        return answer

    async def _try(self, attempt: _Attempt[_Answer], affinity: bytes) -> tuple[Replica, _Answer]:
        """The first replica that begins, whose `in_flight` counts the request from then on."""
        tried: list[Replica] = []
        failure: NotBegun | None = None
        for number in range(self._tries):
            if failure:
                await asyncio.sleep(random.uniform(*_PAUSES_S))
            try:
                replica = self._next(affinity, tried, may_repeat=failure is None or failure.is_gone)
            except EngineUnavailable as error:
                raise failure.error if failure else error from failure
            tried.append(replica)
            try:
                return replica, await self._attempt(attempt, replica)
            except NotBegun as error:
                failure = error
                self._tell(replica, number + 1, error)
        assert failure is not None, "tries is at least 1"
        raise failure.error from failure

    def _tell(self, replica: Replica, number: int, failure: NotBegun) -> None:
        why = repr(failure.__cause__ or failure)
        fields = {"pool": self.name, "url": replica.url, "try": number, "error": why}
        _log.warning("replica_did_not_begin", extra={"fields": fields})

    async def _attempt(self, attempt: _Attempt[_Answer], replica: Replica) -> _Answer:
        replica.breaker.allows()  # `choose` saw that it may be asked; this sends the probe if it is one
        replica.in_flight += 1
        outcome = "aborted"
        try:
            answer = await attempt(replica, self._clients[replica])
            outcome = "began"
        except NotBegun as failure:
            outcome = "not_begun"
            self._note(replica, failure)
            raise
        except EngineTimeout:
            outcome = "late"
            raise
        except GatewayError:
            outcome = "refused"
            raise
        finally:
            if outcome in ("began", "refused"):  # an answer, whatever it says
                replica.breaker.succeeded()
            if outcome != "began":
                replica.in_flight -= 1
            self._metrics.replica_tries.labels(self.name, outcome).inc()
        return answer

    def _note(self, replica: Replica, failure: NotBegun) -> None:
        if failure.is_gone:
            replica.breaker.failed()
        if failure.forgot_model and self._reloads and replica.state == "ready":
            replica.become("loading adapters", "the engine was restarted and is given its adapters")

    def _next(self, affinity: bytes, tried: Sequence[Replica], *, may_repeat: bool) -> Replica:
        """A replica that was not asked yet, or else any but the last, or else that one once more.

        `may_repeat`: whether the last one may do better. Raises EngineUnavailable.
        """
        others = [replica for replica in self._clients if replica not in tried[-1:]]
        fresh = [replica for replica in others if replica not in tried]
        for some in (fresh, others):
            if any(replica.is_ready for replica in some):
                return choose(some, affinity)
        return choose(self.replicas if may_repeat else others, affinity)

    @property
    def is_ready(self) -> bool:
        """Whether any replica takes requests."""
        return any(replica.is_ready for replica in self._clients)

    @property
    def reason(self) -> str:
        """What it waits for."""
        return "" if self.is_ready else why_not(self.replicas)

    @property
    def state(self) -> str:
        """Of the replica that is furthest."""
        if self.is_ready:
            return "ready"
        states = {replica.state for replica in self._clients} - {"ready"}
        return next((one for one in ("loading adapters", "starting", "down") if one in states), "down")


class Pools(Engines):
    """Every pool behind one door."""

    def __init__(self, pools: Iterable[Pool], needed: Iterable[str], metrics: Metrics) -> None:
        self._pools = {pool.name: pool for pool in pools}
        self._only = next(iter(self._pools))
        self._needed = frozenset(needed) or frozenset({self._only})
        """Those that some alias points to."""
        self._metrics = metrics

    def __getitem__(self, name: str) -> Pool:
        """A pool by its name."""
        return self._pools[name]

    def stream_chat(self, call: Call) -> AbstractAsyncContextManager[AsyncIterator[Batch]]:
        """Raises UnsupportedParameter, too, for what the engine would ignore."""
        return self._pool(call.route).stream_chat(call)

    async def tokenize(self, route: Route, body: Json, request_id: str) -> Json:
        """Raises InvalidRequest where the engine cannot."""
        return await self._pool(route).tokenize(route.version, body, request_id)

    def kind_of(self, route: Route) -> EngineKind:
        """What `kinds.KINDS` describes."""
        return self._pool(route).kind.name

    def readiness(self) -> Readiness:
        """Ready when each pool that an alias points to has a ready replica."""
        states: Mapping[str, str] = {name: pool.state for name, pool in self._pools.items()}
        waiting = [pool for name, pool in self._pools.items() if name in self._needed and not pool.is_ready]
        return Readiness(not waiting, waiting[0].reason if waiting else "", states)

    def measure(self) -> None:
        """Set the gauges that say how the replicas are now: for every scrape."""
        self._metrics.engine_up.set(self.readiness().is_ready)
        for name, pool in self._pools.items():
            ready = sum(replica.is_ready for replica in pool.replicas)
            opened = sum(replica.breaker.is_open for replica in pool.replicas)
            self._metrics.replicas_ready.labels(name).set(ready)
            self._metrics.breakers_open.labels(name).set(opened)

    def _pool(self, route: Route) -> Pool:
        return self._pools[route.version.pool or self._only]


def _names(version: Version, replica: Replica) -> tuple[str | None, str | None]:
    """Model and adapter; an engine with one model needs no name for it."""
    if version.bundle:
        return replica.base_model, version.engine_name
    return version.engine_name or replica.base_model or None, None


def _joined(head: Json, rest: bytes) -> bytes:
    """One object of both; `rest` is encoded once, however many replicas are asked."""
    opening = json.dumps(head).encode()
    return opening[:-1] + b", " + rest[1:] if len(rest) > len(b"{}") else opening
