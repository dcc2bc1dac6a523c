"""Pools of scripted engines on real ports; everything before them is real."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from policies.catalog import load_catalog
from serve.adapters.registry import Registry, build_registry
from serve.engine.call import Call
from serve.engine.choice import choose
from serve.engine.client import open_session
from serve.engine.fleet import open_engines
from serve.engine.launch import Launch
from serve.engine.pool import Pools
from serve.observe.metrics import Metrics
from serve.settings import Settings
from tests.fakes.scripted_engine import ScriptedEngine
from tests.serve.gateways import ALIAS, PATIENCE_S

Json = dict[str, Any]
MESSAGES = [{"role": "user", "content": "What is this?"}]


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
