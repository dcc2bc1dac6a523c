"""Claims about who is answered now, who waits, and who is told to come back."""

import asyncio
import http.client
import json
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.door.admission import Admission, Place
from serve.door.auth import RequireKey
from serve.door.caller import ANONYMOUS, Allowance, Caller, caller_of
from serve.door.keys import KeyRing, StoredKey, digest_of
from serve.door.limits import RateCap
from serve.door.presence import while_present
from serve.door.tallies import GATEWAY, Held, Tallies
from serve.errors import GatewayError, InvalidRequest, Overloaded, RateLimited
from serve.options.door import LimitSettings
from tests.serve.doors import answer, answering_errors, hello, new_metrics, read_body, running_app
from tests.serve.gateways import PATIENCE_S, eventually

pytestmark = pytest.mark.anyio


def admission(tallies: Tallies | None = None, **limits: Any) -> Admission:
    return Admission(
        LimitSettings(**({"in_flight": 1, "queue": 2, "queue_s": PATIENCE_S} | limits)),
        tallies or Tallies.alone(8),
        new_metrics(),
    )


def key(name: str, **allowance: int) -> Caller:
    return Caller(f"k_{name}", name, allowance=Allowance(**allowance))


class Visitor:
    """Somebody who wants a place, keeps it until told to go, and remembers what came of it."""

    def __init__(self, door: Admission, caller: Caller = ANONYMOUS, tokens: int = 0) -> None:
        self.place: Place | None = None
        self.go = asyncio.Event()
        self._visit = asyncio.create_task(self._run(door, caller, tokens))

    async def _run(self, door: Admission, caller: Caller, tokens: int) -> None:
        async with door.admitted(caller, tokens) as self.place:
            await self.go.wait()

    async def leave(self) -> None:
        """Without waiting any longer, wherever it is."""
        self._visit.cancel()
        await asyncio.gather(self._visit, return_exceptions=True)

    async def end(self) -> None:
        self.go.set()
        await self._visit


@asynccontextmanager
async def visitors(*them: Visitor) -> AsyncIterator[None]:
    try:
        yield
    finally:
        for visitor in them:
            await visitor.leave()


async def settled() -> None:
    """Everything that can happen by itself has happened."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_one_more_than_the_places_waits_and_is_next() -> None:
    door = admission()
    first, second, third = (Visitor(door) for _ in range(3))
    async with visitors(first, second, third):
        await settled()
        assert first.place is not None
        assert (first.place.queued_s, second.place, third.place) == (0.0, None, None)
        await first.end()
        await settled()
        assert second.place is not None
        assert second.place.queued_s > 0
        assert third.place is None


async def test_a_full_queue_is_503_and_a_spent_key_429_each_with_retry_after() -> None:
    door, spent = admission(in_flight=2, queue=1), key("a", in_flight=1)
    one, other, waiting = Visitor(door), Visitor(door, spent), Visitor(door)
    async with visitors(one, other, waiting):
        await settled()
        assert waiting.place is None
        with pytest.raises(Overloaded) as full:
            async with door.admitted(ANONYMOUS):
                pass
        with pytest.raises(RateLimited) as limited:
            async with door.admitted(spent):
                pass
    for error, status in ((full.value, 503), (limited.value, 429)):
        assert error.status == status
        assert int(error.headers()["retry-after"]) >= 1


async def test_who_waits_too_long_is_told_to_come_back() -> None:
    tallies = Tallies.alone(8)
    door = admission(tallies, queue_s=0.05)
    holder = Visitor(door)
    async with visitors(holder):
        await settled()
        with pytest.raises(Overloaded, match="no turn came"):
            async with door.admitted(ANONYMOUS):
                pass
        assert tallies.held(GATEWAY, Held.WAITING) == 0
        assert tallies.held(GATEWAY, Held.REQUESTS) == 1


@pytest.mark.parametrize("leaves_after", [0, 1, 2, 3, 5, 8])
async def test_a_place_is_never_lost_on_a_caller_who_leaves(leaves_after: int) -> None:
    """Also in the very moment in which its turn comes."""
    tallies = Tallies.alone(8)
    door = admission(tallies)
    holder, leaver, next_one = (Visitor(door, key("a", in_flight=9)) for _ in range(3))
    async with visitors(holder, leaver, next_one):
        await settled()
        holder.go.set()
        for _ in range(leaves_after):
            await asyncio.sleep(0)
        await leaver.leave()
        await settled()
        assert next_one.place is not None
        assert tallies.held(GATEWAY, Held.REQUESTS) == 1
        assert tallies.held("k_a", Held.REQUESTS) == 1
    assert (tallies.held(GATEWAY, Held.REQUESTS), tallies.held(GATEWAY, Held.WAITING)) == (0, 0)
    assert tallies.held("k_a", Held.REQUESTS) == 0


async def test_one_key_cannot_fill_the_queue() -> None:
    door, greedy = admission(queue=8), key("greedy", in_flight=2)
    holder, one = Visitor(door, greedy), Visitor(door, greedy)
    async with visitors(holder, one):
        await settled()
        with pytest.raises(RateLimited):
            async with door.admitted(greedy):
                pass
        other = Visitor(door, key("modest"))
        async with visitors(other):
            await settled()
            await holder.end()
            await one.leave()
            await settled()
            assert other.place is not None


async def test_tokens_are_reserved_then_settled_and_given_back_where_no_turn_came() -> None:
    caller, queue_of_none = key("a", tokens_per_minute=100), 0
    door = admission(queue=queue_of_none)
    async with door.admitted(caller, 60) as place:
        with pytest.raises(RateLimited) as refused:
            async with door.admitted(caller, 41):
                pass
        with pytest.raises(Overloaded):
            async with door.admitted(caller, 40):
                pass
        place.used_tokens = 10
    assert 1 <= int(refused.value.headers()["retry-after"]) <= 61
    async with door.admitted(caller, 90):
        pass
    # Nobody said what the last one used: all that was reserved counts.
    with pytest.raises(RateLimited):
        async with door.admitted(caller, 1):
            pass


async def test_more_tokens_than_a_key_may_ever_use_is_a_mistake_to_mend_not_to_repeat() -> None:
    with pytest.raises(InvalidRequest) as refused:
        async with admission().admitted(key("a", tokens_per_minute=100), 101):
            pass
    assert refused.value.param == "max_tokens"
    assert refused.value.status == 400


async def test_places_are_the_gateways_not_the_workers(tmp_path: Path) -> None:
    one, other = (Tallies.shared(tmp_path / "t", 2, number, 8) for number in (0, 1))
    here, there = admission(one), admission(other)
    async with AsyncExitStack() as stack:
        holder = await stack.enter_async_context(there.admitted(ANONYMOUS))
        waiting = Visitor(here)
        async with visitors(waiting):
            await asyncio.sleep(0.1)
            assert waiting.place is None
            assert holder.queued_s == 0
            await stack.aclose()
            async with asyncio.timeout(PATIENCE_S):
                while waiting.place is None:
                    await asyncio.sleep(0.01)
    for tallies in (one, other):
        tallies.close()


def gateway_of(door: Admission, ring: KeyRing, answers: threading.Event) -> ASGIApp:
    """The door as the gateway puts it together, before an application that answers when it may."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await read_body(receive)

        async def work() -> None:
            async with door.admitted(caller_of(scope)):
                while not answers.is_set():
                    await asyncio.sleep(0.01)
                await answer(send, "answered")

        await while_present(receive, work())

    return answering_errors(RequireKey(RateCap(app, Tallies.alone(8), new_metrics().rejected), ring))


def test_a_caller_who_leaves_the_queue_frees_its_place() -> None:
    tallies, answers = Tallies.alone(8), threading.Event()
    with running_app(gateway_of(admission(tallies, queue=1), KeyRing(), answers)) as url:
        address = urlsplit(url)
        assert address.port is not None

        def begin() -> socket.socket:
            connection = socket.create_connection(("127.0.0.1", address.port), PATIENCE_S)
            connection.sendall(b"POST /v1/x HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}")
            return connection

        def waiting() -> int:
            return tallies.held(GATEWAY, Held.WAITING)

        with begin() as first:
            eventually(lambda: tallies.held(GATEWAY, Held.REQUESTS) == 1)
            with begin():
                eventually(lambda: waiting() == 1)
                full = httpx.post(f"{url}/v1/x", json={}, timeout=PATIENCE_S)
                assert (full.status_code, full.headers["retry-after"]) == (503, "1")
                assert full.json()["error"]["code"] == "overloaded"
            eventually(lambda: waiting() == 0)
            with begin() as third:
                eventually(lambda: waiting() == 1)
                answers.set()
                for connection in (first, third):
                    assert b"200 OK" in connection.recv(100)
        eventually(lambda: tallies.held(GATEWAY, Held.REQUESTS) == 0)


def test_a_spent_rate_is_refused_before_its_body_is_read() -> None:
    allowance = Allowance(requests_per_minute=2)
    ring = KeyRing()

    class Store:
        async def all(self) -> list[StoredKey]:
            return [StoredKey(digest_of("k" * 20), "a", allowance=allowance)]

    asyncio.run(ring.refresh(Store()))
    app = answering_errors(RequireKey(RateCap(hello, Tallies.alone(8), new_metrics().rejected), ring))
    with running_app(app) as url:
        headers = {"authorization": "Bearer " + "k" * 20}
        for _ in range(2):
            assert httpx.get(f"{url}/v1/models", headers=headers, timeout=PATIENCE_S).status_code == 200
        caller = http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE_S)
        caller.putrequest("POST", "/v1/chat/completions")
        for name, value in {**headers, "content-length": "100"}.items():
            caller.putheader(name, value)
        caller.endheaders()
        refused = caller.getresponse()
        assert refused.status == 429
        assert 1 <= int(refused.headers["retry-after"]) <= 61
        error = json.loads(refused.read())["error"]
        assert (error["code"], error["type"]) == ("rate_limited", "rate_limit_error")
        caller.close()


async def test_whoever_is_refused_is_counted_by_the_reason() -> None:
    metrics = new_metrics()
    door = Admission(LimitSettings(in_flight=1, queue=0), Tallies.alone(8), metrics)
    spent = key("a", in_flight=1, tokens_per_minute=1)
    async with door.admitted(spent, 1):
        for caller in (ANONYMOUS, spent, key("a", tokens_per_minute=1)):
            with pytest.raises(GatewayError):
                async with door.admitted(caller, 1):
                    pass
    reasons = {
        sample.labels["reason"]: sample.value
        for metric in metrics.rejected.collect()
        for sample in metric.samples
        if sample.name.endswith("_total") and sample.value
    }
    assert reasons == {"queue_full": 1, "in_flight": 1, "tokens": 1}
