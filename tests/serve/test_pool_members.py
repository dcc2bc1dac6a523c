"""Claims about who belongs to a pool, and when pools are ready."""

import asyncio
import os
import sys
from pathlib import Path

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from policies.formats import FORMATS
from serve.adapters.registry import Route, Version
from serve.engine.call import Call
from serve.engine.choice import choose
from serve.engine.discovery import DiscoveryFailed
from serve.engine.kinds import KINDS
from serve.engine.launch import Launch, free_port
from serve.engine.pool import Pool
from serve.engine.roster import Roster
from serve.errors import (
    EngineUnavailable,
)
from serve.observe.metrics import Metrics
from serve.options.engine import EngineKind, PoolSettings
from tests.fakes.scripted_engine import PLAIN_REPLY, Scripted, ScriptedEngine
from tests.serve.gateways import ALIAS
from tests.serve.pooled import MESSAGES, Json, opened, pool_of, text_of, until
from tests.serve.programs import ROOT

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]


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
