"""Claims about which replica of a pool is asked, and when another is: scripted engines on real ports."""

import asyncio
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from serve.engine.breaker import FAILURES
from serve.engine.client import EngineClient
from serve.engine.replica import Replica
from serve.errors import (
    EngineFailed,
    EngineRejected,
    EngineUnavailable,
    GatewayError,
)
from tests.fakes.scripted_engine import PLAIN_REPLY, Scripted, ScriptedEngine
from tests.serve.pooled import Json, opened, pool_of, ready, until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]


FAILS_BEFORE_ITS_FIRST_CHUNK = (
    Scripted(dies_after=0),
    *(Scripted(status=status, error={"message": "no"}) for status in (502, 503, 504)),
)


@pytest.mark.parametrize(
    ("failing", "whole"),
    [
        (Scripted(fails_after=0), False),
        *((failing, whole) for failing in FAILS_BEFORE_ITS_FIRST_CHUNK for whole in (False, True)),
    ],
)
async def test_a_request_is_tried_elsewhere_before_its_first_chunk(
    engines: list[ScriptedEngine], bundle: Path, failing: Scripted, whole: bool
) -> None:
    async with ready(engines, bundle) as it:
        first, second = it.first, it.second
        first.enqueue(failing)
        assert await it.ask(it.call(whole=whole)) == PLAIN_REPLY
        assert (len(first.history), len(second.history)) == (1, 1)
        assert it.metric('groundrule_replica_tries_total{outcome="not_begun",pool="main"}') == 1
        assert it.metric('groundrule_replica_tries_total{outcome="began",pool="main"}') == 1


@pytest.mark.parametrize("failing", [Scripted(dies_after=3), Scripted(fails_after=3)], ids=["dies", "error"])
async def test_after_its_first_chunk_a_request_is_tried_nowhere(
    engines: list[ScriptedEngine], bundle: Path, failing: Scripted
) -> None:
    async with ready(engines, bundle) as it:
        first, second = it.first, it.second
        first.enqueue(failing)
        with pytest.raises(EngineFailed):
            await it.ask()
        assert (len(first.history), len(second.history)) == (1, 0)
        assert all(replica.in_flight == 0 for replica in it.pools["main"].replicas)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        *((status, EngineRejected) for status in (400, 413, 422, 429)),
        (408, EngineUnavailable),
        (500, EngineUnavailable),
    ],
)
async def test_the_callers_mistake_is_never_tried_twice(
    engines: list[ScriptedEngine], bundle: Path, status: int, error: type[GatewayError]
) -> None:
    async with ready(engines, bundle) as it:
        first = it.first
        for engine in engines:
            engine.enqueue(Scripted(status=status, error={"message": "no", "code": status}))
        with pytest.raises(error):
            await it.ask()
        assert len(first.history) == 1
        assert sum(len(engine.history) for engine in engines) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "too long", "param": "messages"}},
        {"object": "error", "message": "too long", "param": "messages"},
        {"detail": "too long"},
        {"detail": [{"msg": "too long", "loc": ["body"]}]},
    ],
)
async def test_every_engines_way_of_saying_why_is_understood(body: Json) -> None:
    async def refuse(_: web.Request) -> web.Response:
        return web.json_response(body, status=400)

    app = web.Application()
    app.router.add_post("/v1/chat/completions", refuse)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        client = EngineClient(Replica(str(server.make_url("")).rstrip("/")), session)
        with pytest.raises(EngineRejected, match="too long") as refusal:
            await client.begin_chat(b"{}", "req-1")
        assert refusal.value.status == 400
        assert refusal.value.param == body.get("error", body).get("param")


async def test_where_every_replica_fails_each_is_asked_and_the_last_failure_is_told(
    engines: list[ScriptedEngine], bundle: Path
) -> None:
    async with ready(engines, bundle) as it:
        for engine in engines:
            engine.enqueue(*[Scripted(status=503, error={"message": "db-7"})] * 3)
        with pytest.raises(EngineUnavailable) as failure:
            await it.ask()
        assert "db-7" not in failure.value.message
        assert sorted(len(engine.history) for engine in engines) == [1, 2]  # three tries in all


async def test_a_replica_that_forgot_its_adapters_is_left_out_until_it_has_them(
    engines: list[ScriptedEngine], bundle: Path
) -> None:
    async with ready(engines, bundle) as it:
        first, second = it.first, it.second
        adapters = dict(first.adapters)
        first.knows_adapters = False
        first.forget_adapters()
        for number in range(4):
            assert await it.ask() == PLAIN_REPLY
            assert len(second.history) == number + 1
        assert it.state_of(first) != "ready"
        assert len(first.history) <= 1
        first.knows_adapters = True
        await until(lambda: it.state_of(first) == "ready")
        assert first.adapters == adapters
        assert it.fatal == []


async def test_adapters_are_on_a_replica_before_it_is_offered(
    engines: list[ScriptedEngine], bundle: Path
) -> None:
    late = engines[1]
    late.knows_adapters = False
    async with opened(engines, bundle) as it:
        await until(lambda: it.pools.readiness().is_ready)
        for number in range(12):
            await it.ask(it.call(affinity=bytes([number])))
        assert late.history == []
        late.knows_adapters = True
        await until(lambda: it.state_of(late) == "ready")
        for number in range(12):
            await it.ask(it.call(affinity=bytes([number])))
        assert late.history


async def test_the_same_conversation_goes_to_the_same_replica_until_it_is_busy(
    engines: list[ScriptedEngine], bundle: Path
) -> None:
    async with ready(engines, bundle) as it:
        first, second = it.first, it.second
        for _ in range(5):
            await it.ask()
        assert (len(first.history), len(second.history)) == (5, 0)
        first.enqueue(*[Scripted(stalls_after=2)] * 4)
        async with it.pools.stream_chat(it.call()), it.pools.stream_chat(it.call()):
            async with it.pools.stream_chat(it.call()), it.pools.stream_chat(it.call()):
                await it.ask()
                assert (len(first.history), len(second.history)) == (9, 1)
            await it.ask()
            assert (len(first.history), len(second.history)) == (10, 1)


async def test_one_of_two_replicas_dying_under_load_fails_no_request_that_had_not_begun(
    bundle: Path,
) -> None:
    begun_and_failed, done = 0, 0
    with ScriptedEngine().running() as living, ExitStack() as life:
        dying = life.enter_context(ScriptedEngine().running())
        async with ready([living, dying], bundle) as it:
            for engine in (living, dying):
                engine.enqueue(*[Scripted(pause_s=0.005)] * 2000)

            async def ask_on(number: int) -> None:
                nonlocal begun_and_failed, done
                for turn in range(6):
                    call = it.call(whole=turn % 2 == 0, affinity=bytes([number, turn]))
                    try:
                        async with it.pools.stream_chat(call) as batches:
                            try:
                                async for _ in batches:
                                    pass
                                done += 1
                            except EngineFailed:
                                begun_and_failed += 1
                    except EngineFailed as error:
                        pytest.fail(f"a request that had not begun failed: {error!r}")

            async with asyncio.TaskGroup() as group:
                for number in range(24):
                    group.create_task(ask_on(number))
                await until(lambda: bool(living.history and dying.history))
                await asyncio.to_thread(life.close)
            assert done + begun_and_failed == 24 * 6
            assert done > 72
            await until(lambda: it.state_of(dying) == "down")
            assert it.pools.readiness().is_ready


async def test_a_replica_that_fails_again_and_again_is_asked_no_more(
    engines: list[ScriptedEngine], bundle: Path
) -> None:
    async with ready(engines, bundle) as it:
        first = it.first
        first.enqueue(*[Scripted(status=503, error={"message": "no"})] * (FAILURES + 5))
        for _ in range(FAILURES):
            await it.ask()
        asked = len(first.history)
        assert asked == FAILURES
        assert it.metric('groundrule_breakers_open{pool="main"}') == 1
        assert it.metric('groundrule_replicas_ready{pool="main"}') == 1
        await it.ask()
        assert len(first.history) == asked


async def test_an_only_replica_is_asked_again_until_its_breaker_opens(
    engines: list[ScriptedEngine], bundle: Path
) -> None:
    only = engines[0]
    async with ready([only], bundle) as it:
        only.enqueue(Scripted(status=503, error={"message": "no"}))
        assert await it.ask() == PLAIN_REPLY
        only.history.clear()
        only.enqueue(*[Scripted(status=503, error={"message": "no"})] * (FAILURES + 5))
        for asked in (3, FAILURES, FAILURES):
            with pytest.raises(EngineUnavailable):
                await it.ask()
            assert len(only.history) == asked


async def test_tries_of_one_are_one(engines: list[ScriptedEngine], bundle: Path) -> None:
    only = engines[0]
    async with ready([only], bundle, engine={"pools": [pool_of([only], tries=1)]}) as it:
        only.enqueue(Scripted(status=503, error={"message": "no"}))
        with pytest.raises(EngineUnavailable):
            await it.ask()
        assert len(only.history) == 1


async def test_the_only_replica_is_not_asked_again_what_it_may_choke_on(
    engines: list[ScriptedEngine], bundle: Path
) -> None:
    only = engines[0]
    async with ready([only], bundle) as it:
        only.enqueue(Scripted(fails_after=0))
        with pytest.raises(EngineFailed):
            await it.ask()
        assert len(only.history) == 1


async def test_where_the_others_are_not_ready_the_one_that_failed_is_asked_again(
    engines: list[ScriptedEngine], bundle: Path
) -> None:
    failing, down = engines
    down.is_healthy = False
    async with opened(engines, bundle) as it:
        await until(lambda: it.state_of(failing) == "ready")
        failing.enqueue(Scripted(status=503, error={"message": "no"}))
        assert await it.ask() == PLAIN_REPLY
        assert (len(failing.history), len(down.history)) == (2, 0)


async def test_a_request_that_every_engine_chokes_on_shuts_no_replica_out(
    engines: list[ScriptedEngine], bundle: Path
) -> None:
    async with ready(engines, bundle) as it:
        for engine in engines:
            engine.enqueue(*[Scripted(fails_after=0)] * 3 * FAILURES)
        for _ in range(FAILURES):
            with pytest.raises(EngineFailed):
                await it.ask()
        for engine in engines:
            assert len(engine.history) >= FAILURES
            engine.replies.clear()
        assert it.metric('groundrule_replicas_ready{pool="main"}') == 2
        assert await it.ask() == PLAIN_REPLY
