"""Everything that keeps the pools true, started and ended together: supervision, discovery, adapters.

The settings' three forms end here: whatever they are, there are pools.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import aiohttp

from serve.adapters.load import bring_up
from serve.adapters.registry import Registry
from serve.engine.client import EngineClient
from serve.engine.discovery import discovery_of
from serve.engine.embedded import EmbeddedEngine
from serve.engine.kinds import KINDS
from serve.engine.launch import BASE_NAME, Launcher, launch_vllm
from serve.engine.pool import Pool, Pools
from serve.engine.replica import Replica
from serve.engine.roster import Roster
from serve.engine.supervisor import EngineStartError
from serve.observe.metrics import Metrics
from serve.options.engine import EmbeddedSettings, EngineKind, PoolSettings, RemoteSettings
from serve.settings import Settings

_log = logging.getLogger(__name__)

OnFatal = Callable[[str], None]
"""Told why the engines will never serve, or are looked after no more."""
ONLY_POOL = "engine"
"""The pool of the two old forms, engine.embedded and engine.remote."""


@asynccontextmanager
async def open_engines(
    settings: Settings,
    registry: Registry,
    session: aiohttp.ClientSession,
    metrics: Metrics,
    on_fatal: OnFatal,
    launcher: Launcher | None = None,
    *,
    loads: bool = True,
) -> AsyncIterator[Pools]:
    """Every pool of the settings; replicas become ready by and by, and are let go of at the end.

    `session` is `client.open_session`'s. `launcher` replaces vLLM. `loads`: False where another process
    loads the adapters.
    """
    fleet = _Fleet(settings, registry, session, metrics, loads)
    engine = settings.engine
    if engine.embedded:
        launch = launcher or partial(launch_vllm, engine.embedded, settings.limits.images_per_request)
        fleet.add_embedded(engine.embedded, launch)
    for pool in (*([_as_pool(engine.remote)] if engine.remote else []), *engine.pools):
        fleet.add_pool(pool)
    for task in fleet.tasks:
        task.add_done_callback(partial(_tell_the_end, on_fatal))
    needed = {version.pool or ONLY_POOL for version in registry.aliases.values()}
    try:
        yield Pools(fleet.pools, needed, metrics)
    finally:
        for task in fleet.tasks:
            task.cancel()
        await asyncio.gather(*fleet.tasks, return_exceptions=True)


class _Fleet:
    """Pools, and the tasks that keep them true."""

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        session: aiohttp.ClientSession,
        metrics: Metrics,
        loads: bool,
    ) -> None:
        self._has_pools = bool(settings.engine.pools)
        self._registry = registry
        self._session = session
        self._metrics = metrics
        self._loads = loads
        self.pools: list[Pool] = []
        self.tasks: list[asyncio.Task[None]] = []

    def add_embedded(self, settings: EmbeddedSettings, launcher: Launcher) -> None:
        # Its process is watched: it cannot lose its adapters and live on.
        pool = Pool(ONLY_POOL, KINDS[EngineKind.VLLM], self._metrics, reloads=False)
        replica = Replica(base_model=BASE_NAME)
        client = EngineClient(replica, self._session, pool.kind)
        pool.add(replica, client)
        self.pools.append(pool)
        engine = EmbeddedEngine(settings, launcher, replica, client, self._metrics)
        on_up = partial(bring_up, self._registry.of_pool(None), client, loads=self._loads)
        self.tasks.append(asyncio.create_task(engine.run(on_up)))

    def add_pool(self, settings: PoolSettings) -> None:
        pool = Pool(settings.name, KINDS[settings.kind], self._metrics, tries=settings.tries)
        self.pools.append(pool)
        versions = self._registry.of_pool(settings.name if self._has_pools else None)
        discovery = discovery_of(settings, self._session)
        roster = Roster(settings, pool, discovery, versions, self._session, loads=self._loads)
        self.tasks.append(asyncio.create_task(roster.run()))


def _as_pool(remote: RemoteSettings) -> PoolSettings:
    """The same as a pool of one. Its key is the session's, as `open_session` made it."""
    return PoolSettings(
        name=ONLY_POOL, urls=(remote.url,), model=remote.model, poll_interval_s=remote.poll_interval_s
    )


def _tell_the_end(on_fatal: OnFatal, task: asyncio.Task[None]) -> None:
    """However supervision ended, unless the gateway cancelled it: nobody would start the engine again."""
    if task.cancelled():
        return
    error = task.exception()
    if isinstance(error, EngineStartError):
        _log.error("engine_start_failed", extra={"fields": {"error": str(error)}})
        on_fatal(str(error))
    else:
        _log.error("supervision_failed", exc_info=error)
        on_fatal(f"nobody looks after the engine any more: {error!r}")
