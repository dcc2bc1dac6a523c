"""Claims about pools of replicas: scripted engines on real ports, everything before them is real."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from prometheus_client import CollectorRegistry, generate_latest

from policies.catalog import load_catalog
from policies.formats import FORMATS
from serve.adapters.registry import Registry, Route, Version, build_registry
from serve.engine.breaker import FAILURES
from serve.engine.call import Call
from serve.engine.choice import choose
from serve.engine.client import EngineClient, open_session
from serve.engine.discovery import DiscoveryFailed
from serve.engine.fleet import open_engines
from serve.engine.kinds import KINDS
from serve.engine.launch import Launch, free_port
from serve.engine.pool import MOST_KEPT_BYTES, Pool, Pools
from serve.engine.replica import Replica
from serve.engine.roster import Roster
from serve.errors import (
    EngineFailed,
    EngineRejected,
    EngineUnavailable,
    GatewayError,
    InvalidRequest,
    UnsupportedParameter,
)
from serve.observe.metrics import Metrics
from serve.options.engine import EngineKind, PoolSettings
from serve.settings import Settings
from tests.fakes.scripted_engine import PLAIN_REPLY, Scripted, ScriptedEngine
from tests.serve.gateways import ALIAS, PATIENCE_S
from tests.serve.programs import ROOT

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]
Json = dict[str, Any]
MESSAGES = [{"role": "user", "content": "What is this?"}]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def engines() -> Iterator[list[ScriptedEngine]]:
    """Two replicas."""
    with ExitStack() as stack:
        yield [stack.enter_context(ScriptedEngine().running()) for _ in range(2)]


@dataclass
class Opened:
    """Pools that are ready, and how to ask them."""

    pools: Pools
    registry: Registry
    engines: Sequence[ScriptedEngine]
    metrics: Metrics
    fatal: list[str]

    def call(
        self, *, alias: str = ALIAS, whole: bool = False, affinity: bytes = b"start", **payload: Any
    ) -> Call:
        fields = {"messages": MESSAGES, **payload}
        return Call(self.registry.resolve(alias), fields, whole, "req-1", affinity)

    async def ask(self, call: Call | None = None) -> str:
        """The text of a reply."""
        async with self.pools.stream_chat(call or self.call()) as batches:
            return "".join([text_of(chunk) async for batch in batches for chunk in batch])

    @property
    def first(self) -> ScriptedEngine:
        """The one that `call` goes to."""
        url = choose(self.pools["main"].replicas, b"start").url
        return next(engine for engine in self.engines if engine.url == url)

    @property
    def second(self) -> ScriptedEngine:
        return next(engine for engine in self.engines if engine is not self.first)

    def state_of(self, engine: ScriptedEngine) -> str:
        (replica,) = [one for one in self.pools["main"].replicas if one.url == engine.url]
        return replica.state

    def metric(self, line_start: str) -> float:
        self.pools.measure()
        lines = generate_latest(self.metrics.registry).decode().splitlines()
        found = [line for line in lines if line.startswith(line_start)]
        return float(found[0].rsplit(" ", 1)[1]) if found else 0.0


def text_of(chunk: Json) -> str:
    return "".join(choice["delta"].get("content") or "" for choice in chunk["choices"])


@asynccontextmanager
async def opened(
    engines: Sequence[ScriptedEngine],
    bundle: Path,
    launch: Callable[[], Launch] | None = None,
    *,
    loads: bool = True,
    **changes: Any,
) -> AsyncIterator[Opened]:
    """A pool named main of these engines, or what `changes` make of the settings."""
    values: Json = {
        "engine": {"pools": [pool_of(engines)]},
        "adapters": [{"bundle": bundle}],
        "ledger": {"enabled": False},
    }
    settings = Settings(**(values | changes))
    registry = build_registry(settings, load_catalog())
    metrics = Metrics(CollectorRegistry())
    fatal: list[str] = []
    async with (
        open_session(settings.engine) as session,
        open_engines(settings, registry, session, metrics, fatal.append, launch, loads=loads) as pools,
    ):
        yield Opened(pools, registry, engines, metrics, fatal)


@asynccontextmanager
async def ready(engines: Sequence[ScriptedEngine], bundle: Path, **changes: Any) -> AsyncIterator[Opened]:
    async with opened(engines, bundle, **changes) as it:
        await until(lambda: all(it.state_of(engine) == "ready" for engine in engines))
        yield it


def pool_of(engines: Sequence[ScriptedEngine], **settings: Any) -> Json:
    return {"name": "main", "urls": [engine.url for engine in engines], "poll_interval_s": 0.05, **settings}


async def until(claim: Callable[[], bool]) -> None:
    """Wait until it holds; a replica that is not there yet counts as not."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with suppress(ValueError):
            if claim():
                return
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.02)


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


async def test_chunks_of_one_read_come_together_and_none_is_lost(
    engines: list[ScriptedEngine], bundle: Path
) -> None:
    async with ready(engines[:1], bundle) as it:
        engines[0].enqueue(Scripted(cuts=(0,)))
        async with it.pools.stream_chat(it.call()) as batches:
            read = [batch async for batch in batches]
        chunks = [chunk for batch in read for chunk in batch]
        assert len(read) * 5 < len(chunks)
        assert "".join(map(text_of, chunks)) == PLAIN_REPLY
        assert chunks[-1]["usage"]["completion_tokens"]


async def test_good_chunks_before_a_failure_in_the_same_read_are_delivered_first(
    engines: list[ScriptedEngine], bundle: Path
) -> None:
    good = {"choices": [{"index": 0, "delta": {"content": "good"}}]}
    frames = [json.dumps(one).encode() for one in (good, good, {"error": {"message": "boom"}}, good)]
    stream = b"".join(b"data: " + frame + b"\n\n" for frame in frames)
    async with ready(engines[:1], bundle) as it:
        engines[0].enqueue(Scripted(extra_bytes=stream, pauses={0: 0.2}))
        async with it.pools.stream_chat(it.call()) as batches:
            reading = aiter(batches)
            assert [text_of(chunk) for chunk in await anext(reading)] == ["good", "good"]
            with pytest.raises(EngineFailed):
                await anext(reading)


async def test_a_plain_answer_is_asked_for_whole_and_read_as_one_chunk(
    engines: list[ScriptedEngine], bundle: Path
) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    async with ready(engines[:1], bundle) as it:
        engines[0].enqueue(Scripted(tool_calls=[call, call]))
        async with it.pools.stream_chat(it.call(whole=True)) as batches:
            ((chunk,),) = [batch async for batch in batches]
        assert engines[0].history[0].whole
        (choice,) = chunk["choices"]
        assert choice["delta"]["content"] == PLAIN_REPLY
        assert choice["finish_reason"] == "stop"
        assert [one["index"] for one in choice["delta"]["tool_calls"]] == [0, 1]


async def test_a_large_request_is_streamed_so_that_it_need_not_be_kept(
    engines: list[ScriptedEngine], bundle: Path
) -> None:
    async with ready(engines[:1], bundle) as it:
        large = [{"role": "user", "content": "x" * MOST_KEPT_BYTES}]
        assert await it.ask(it.call(whole=True, messages=large)) == PLAIN_REPLY
        assert not engines[0].history[0].whole
        assert engines[0].history[0].body["messages"] == large


async def test_leaving_makes_the_engine_abort(engines: list[ScriptedEngine], bundle: Path) -> None:
    async with ready(engines[:1], bundle) as it:
        engines[0].enqueue(Scripted(stalls_after=3))
        async with it.pools.stream_chat(it.call()) as batches:
            await anext(aiter(batches))
        await until(lambda: engines[0].history[0].aborted)
        assert it.pools["main"].replicas[0].in_flight == 0


async def test_a_caller_who_leaves_before_the_first_chunk_frees_the_replica(
    engines: list[ScriptedEngine], bundle: Path
) -> None:
    async with ready(engines[:1], bundle) as it:
        engines[0].enqueue(Scripted(headers_after_s=30))
        asking = asyncio.create_task(it.ask())
        await until(lambda: bool(engines[0].history))
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert it.pools["main"].replicas[0].in_flight == 0
        assert await it.ask() == PLAIN_REPLY


async def test_engines_are_told_id_key_model_and_to_count(
    engines: list[ScriptedEngine], bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGINE_KEY", "not-a-real-key")
    pools = {"pools": [pool_of(engines[:1], key_variable="ENGINE_KEY")]}
    async with ready(engines[:1], bundle, engine=pools) as it:
        await it.ask(it.call(temperature=0, stream_options={"include_usage": False}))
        asked = engines[0].history[0]
        assert asked.headers["authorization"] == "Bearer not-a-real-key"
        assert asked.headers["x-request-id"] == "req-1"
        (name,) = engines[0].adapters
        assert asked.body == {
            "model": name,
            "messages": MESSAGES,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        }
        await it.ask(it.call(alias="base"))
        assert engines[0].history[1].body["model"] == "base"


async def test_a_key_that_is_not_there_ends_the_gateway_and_says_which(
    engines: list[ScriptedEngine], bundle: Path
) -> None:
    pools = {"pools": [pool_of(engines, key_variable="NO_SUCH_KEY")]}
    async with opened(engines, bundle, engine=pools) as it:
        await until(lambda: bool(it.fatal))
        assert "NO_SUCH_KEY" in it.fatal[0]


async def test_tokens_are_counted_by_the_engine_or_not_at_all(
    engines: list[ScriptedEngine], bundle: Path
) -> None:
    async with ready(engines, bundle) as it:
        route = it.registry.resolve(ALIAS)
        answer = await it.pools.tokenize(route, {"model": ALIAS, "prompt": "x"}, "req-1")
        assert answer["tokens"] == [1, 2, 3]
        (asked,) = [one for engine in engines for one in engine.history]
        assert asked.body["model"] == route.version.engine_name
    models = [{"alias": "cot", "pool": "main"}]
    transformers = {"pools": [pool_of(engines, kind="transformers")]}
    async with ready(engines, bundle, engine=transformers, adapters=[], models=models) as it:
        with pytest.raises(InvalidRequest, match="cannot tokenize"):
            await it.pools.tokenize(it.registry.resolve("cot"), {"prompt": "x"}, "req-1")
        with pytest.raises(UnsupportedParameter, match=r"^n: "):
            await it.ask(it.call(alias="cot", n=2))


class ScriptedDiscovery:
    """A list that the test changes; None: nobody can be asked."""

    def __init__(self, *engines: ScriptedEngine) -> None:
        self.listed: tuple[ScriptedEngine, ...] | None = engines

    async def addresses(self) -> frozenset[str]:
        if self.listed is None:
            raise DiscoveryFailed("no answer")
        return frozenset(engine.url for engine in self.listed)


async def test_a_replica_that_is_listed_no_more_finishes_what_it_has_and_gets_nothing_new(
    engines: list[ScriptedEngine],
) -> None:
    settings = PoolSettings(**pool_of(engines))
    discovery = ScriptedDiscovery(*engines)
    base = Version(None, FORMATS["think"], {}, pool="main")
    call = Call(Route("base", base), {"messages": MESSAGES}, False, "req-1", b"start")
    pool = Pool("main", KINDS[EngineKind.VLLM], Metrics(CollectorRegistry()))
    async with aiohttp.ClientSession() as session:
        roster = asyncio.create_task(Roster(settings, pool, discovery, [base], session).run())
        await until(lambda: sum(replica.is_ready for replica in pool.replicas) == 2)
        leaving = choose(pool.replicas, b"start").url
        first, second = sorted(engines, key=lambda engine: engine.url != leaving)
        first.enqueue(Scripted(pause_s=0.05))
        async with pool.stream_chat(call) as batches:
            discovery.listed = (second,)
            await until(lambda: len(pool.replicas) == 1)
            async with pool.stream_chat(call) as others:
                assert "".join([text_of(chunk) async for batch in others for chunk in batch]) == PLAIN_REPLY
            assert "".join([text_of(chunk) async for batch in batches for chunk in batch]) == PLAIN_REPLY
        assert (len(first.history), len(second.history)) == (1, 1)
        discovery.listed = None  # whoever cannot be asked has not said that there are none
        await asyncio.sleep(0.2)
        assert pool.is_ready
        discovery.listed = (first, second)
        await until(lambda: sum(replica.is_ready for replica in pool.replicas) == 2)
        roster.cancel()
        await asyncio.gather(roster, return_exceptions=True)
        assert pool.replicas == []


async def test_every_pool_with_an_alias_must_be_ready(engines: list[ScriptedEngine], bundle: Path) -> None:
    merged = {"name": "cot", "kind": "transformers", "urls": [engines[1].url], "poll_interval_s": 0.05}
    engines[1].is_healthy = False
    changes: Json = {
        "engine": {"pools": [pool_of(engines[:1]), merged]},
        "models": [{"alias": "llava-cot", "pool": "cot", "reasoning_format": "llava_cot"}],
    }
    async with opened(engines, bundle, **changes) as it:
        await until(lambda: it.pools.readiness().pools == {"main": "ready", "cot": "down"})
        told = it.pools.readiness()
        assert not told.is_ready
        assert told.reason == "the engine does not answer its health check"
        assert it.metric("groundrule_engine_up") == 0
        with pytest.raises(EngineUnavailable, match="health check"):
            await it.ask(it.call(alias="llava-cot"))
        assert await it.ask() == PLAIN_REPLY
        engines[1].is_healthy = True
        await until(lambda: it.pools.readiness().is_ready)
        assert it.metric("groundrule_engine_up") == 1


async def test_the_old_forms_are_pools_of_one(
    engines: list[ScriptedEngine], bundle: Path, tmp_path: Path
) -> None:
    remote = {"remote": {"url": engines[0].url, "poll_interval_s": 0.05}}
    async with opened(engines, bundle, engine=remote) as it:
        await until(lambda: it.pools.readiness().is_ready)
        assert it.pools.readiness().pools == {"engine": "ready"}
        assert await it.ask() == PLAIN_REPLY
    port = free_port()
    script = (sys.executable, str(ROOT / "tests/fakes/scripted_engine.py"), str(port))

    def launch() -> Launch:
        return Launch(script, dict(os.environ), f"http://127.0.0.1:{port}")

    embedded = {"embedded": {"model": "org/model", "log": tmp_path / "engine.log"}}
    async with opened((), bundle, launch, engine=embedded) as it:
        with pytest.raises(EngineUnavailable, match="starting"):
            await it.ask()
        await until(lambda: it.pools.readiness().is_ready)
        assert await it.ask() == PLAIN_REPLY
        assert it.pools.kind_of(it.registry.resolve(ALIAS)) == "vllm"
    assert it.pools.readiness().pools == {"engine": "down"}


async def test_where_another_process_loads_adapters_this_one_only_waits(
    engines: list[ScriptedEngine], bundle: Path
) -> None:
    (engine,) = engines[:1]
    async with opened([engine], bundle, loads=False) as it:
        pools, registry = it.pools, it.registry
        await until(lambda: pools.readiness().pools == {"main": "down"})
        assert engine.adapters == {}
        (version,) = registry.adapters
        engine.adapters[str(version.engine_name)] = str(version.bundle)
        await until(lambda: pools.readiness().is_ready)
