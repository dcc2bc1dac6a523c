"""Claims about the door as a whole: its order, and callers who leave, stall or stay when it closes."""

import asyncio
import contextlib
import json
import socket
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.door.caller import Allowance
from serve.door.caller import Scope as Opens
from serve.door.front import front_door
from serve.door.keys import KeyRing, StoredKey, digest_of
from serve.door.presence import CallerStalled, patient, while_present
from serve.door.tallies import GATEWAY, Held, Tallies
from serve.errors import Stopping
from serve.options.door import LimitSettings
from tests.serve.doors import answer, answering_errors, new_metrics, read_body, running_app
from tests.serve.gateways import PATIENCE_S, eventually

pytestmark = pytest.mark.anyio
CHAT, OTHER = "c" * 20, "o" * 20
PATH = "/v1/chat/completions"


class Store:
    async def all(self) -> list[StoredKey]:
        allowance = Allowance(requests_per_minute=3)
        return [
            StoredKey(digest_of(CHAT), "chat", frozenset({Opens.CHAT}), allowance=allowance),
            StoredKey(digest_of(OTHER), "other", frozenset({Opens.GUARD}), allowance=allowance),
        ]


async def whole_door(tallies: Tallies, **limits: Any) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, len(await read_body(receive)))

    ring = KeyRing(has_store=True)
    await ring.refresh(Store())
    limits = {"body_bytes": 1000, "bodies_in_flight_bytes": 1500} | limits
    return answering_errors(front_door(app, ring, LimitSettings(**limits), tallies, new_metrics()))


async def test_what_is_cheaper_to_refuse_is_refused_first() -> None:
    tallies = Tallies.alone(8)
    transport = httpx.ASGITransport(app=await whole_door(tallies))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:

        async def post(key: str, body: bytes, **headers: str) -> int:
            sent = {"authorization": f"Bearer {key}", **headers}
            return (await client.post(PATH, content=body, headers=sent)).status_code

        large = bytes(2000)
        assert await post("nobody", large) == 401
        assert await post(OTHER, large) == 403
        # None of those was a request of this key's, and neither is one that is too large by its headers.
        assert [await post(CHAT, large) for _ in range(5)] == [413] * 5
        assert await post(CHAT, b"", **{"content-encoding": "br"}) == 415
        assert [await post(CHAT, b"{}") for _ in range(4)] == [200, 200, 200, 429]
        # Too large and too often: the caller is told what waiting will not mend.
        assert await post(CHAT, large) == 413
    assert tallies.held(GATEWAY, Held.BODY_BYTES) == 0


async def until_left() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


def _never() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


async def test_work_ends_when_the_gateway_can_wait_no_longer() -> None:
    deadline, ended = _never(), asyncio.Event()

    async def work() -> None:
        try:
            deadline.set_result(None)
            await asyncio.sleep(PATIENCE_S)
        finally:
            ended.set()

    with pytest.raises(Stopping) as stopped:
        await while_present(until_left, work(), deadline)
    assert ended.is_set()
    assert stopped.value.status == 503


async def test_work_that_is_done_in_time_is_not_disturbed_by_the_deadline() -> None:
    async def work() -> None:
        await asyncio.sleep(0)

    assert await while_present(until_left, work(), _never())


async def test_a_caller_who_has_left_and_one_who_stays_are_told_apart() -> None:
    async def left() -> Message:
        return {"type": "http.disconnect"}

    async def work() -> None:
        await asyncio.sleep(PATIENCE_S)

    assert not await while_present(left, work(), _never())


async def test_whoever_else_ends_the_work_is_not_taken_for_a_caller_who_left() -> None:
    async def work() -> None:
        await asyncio.sleep(PATIENCE_S)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await while_present(until_left, work(), _never())
    cancelled = asyncio.create_task(while_present(until_left, work()))
    await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    with pytest.raises(ZeroDivisionError):
        await while_present(until_left, _failing(), _never())


async def _failing() -> None:
    await asyncio.sleep(0)
    raise ZeroDivisionError


async def test_who_survives_a_caller_that_left_is_not_ended_later_for_it() -> None:
    async def left() -> Message:
        return {"type": "http.disconnect"}

    async def stubborn() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(PATIENCE_S)

    await while_present(left, stubborn())
    here = asyncio.current_task()
    assert here is not None
    assert here.cancelling() == 0
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.sleep(0.01)


def test_a_caller_who_takes_nothing_is_let_go() -> None:
    stalled: list[int] = []

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        sending, sent = patient(send, 0.3), 0
        await sending({"type": "http.response.start", "status": 200, "headers": []})
        with contextlib.suppress(CallerStalled):
            while True:
                await sending({"type": "http.response.body", "body": bytes(65536), "more_body": True})
                sent += 65536
        stalled.append(sent)

    with running_app(endless) as url, socket.socket() as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        caller.settimeout(PATIENCE_S)
        caller.connect(("127.0.0.1", int(url.rsplit(":", 1)[1])))
        caller.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        eventually(lambda: bool(stalled))
    # What sockets and the server hold, and not one reply more.
    assert stalled[0] < 16_000_000


async def test_a_caller_who_takes_what_there_is_may_be_slow_in_all() -> None:
    taken: list[Message] = []

    async def slow(message: Message) -> None:
        await asyncio.sleep(0.05)
        taken.append(message)

    sending = patient(slow, 0.4)
    for number in range(10):
        await sending({"type": "http.response.body", "body": json.dumps(number).encode()})
    assert len(taken) == 10
