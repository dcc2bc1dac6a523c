"""The replicas of one pool as discovery lists them, each of them watched."""

import asyncio
import logging
import os
from collections.abc import Sequence
from functools import partial

import aiohttp

from serve.adapters.load import bring_up
from serve.adapters.registry import Version
from serve.engine.client import EngineClient
from serve.engine.discovery import Discovery, DiscoveryFailed
from serve.engine.pool import Pool
from serve.engine.replica import Replica
from serve.engine.supervisor import EngineStartError
from serve.engine.watch import Watch
from serve.options.engine import PoolSettings

_log = logging.getLogger(__name__)


class Roster:
    """Takes replicas into a pool and out of it."""

    def __init__(
        self,
        settings: PoolSettings,
        pool: Pool,
        discovery: Discovery,
        versions: Sequence[Version],
        session: aiohttp.ClientSession,
        *,
        loads: bool = True,
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._discovery = discovery
        self._versions = versions
        self._session = session
        self._loads = loads
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._said = ""

    async def run(self) -> None:
        """Until cancelled; raises EngineStartError if the key that the settings name is not there."""
        headers = _headers(self._settings)
        async with asyncio.TaskGroup() as group:
            while True:
                listed = await self._listed()
                for url in self._watches.keys() - listed:
                    self._watches.pop(url).cancel()
                for url in listed - self._watches.keys():
                    self._watches[url] = group.create_task(self._look_after(url, headers))
                await asyncio.sleep(self._settings.poll_interval_s)

    async def _listed(self) -> frozenset[str]:
        """Those known last, where nobody can be asked: whether they answer is watched all the same."""
        try:
            listed = await self._discovery.addresses()
        except DiscoveryFailed as error:
            if str(error) != self._said:  # once, not at every poll
                fields = {"pool": self._pool.name, "error": str(error)}
                _log.error("discovery_failed", extra={"fields": fields})
            self._said = str(error)
            return frozenset(self._watches)
        self._said = ""
        return listed

    async def _look_after(self, url: str, headers: dict[str, str]) -> None:
        """From the first sight of a replica until it is listed no more."""
        replica = Replica(url)
        client = EngineClient(replica, self._session, self._pool.kind, headers)
        names = [version.engine_name for version in self._versions if version.engine_name]
        watch = Watch(
            replica,
            client,
            expected=names,
            model=self._settings.model,
            poll_interval_s=self._settings.poll_interval_s,
        )
        self._pool.add(replica, client)
        try:
            await watch.run(partial(bring_up, self._versions, client, loads=self._loads))
        finally:
            self._pool.remove(replica)


def _headers(settings: PoolSettings) -> dict[str, str]:
    if settings.key_variable is None:
        return {}
    key = os.environ.get(settings.key_variable)
    if not key:
        raise EngineStartError(
            f"pool {settings.name}: its key is to come from {settings.key_variable}, which is not set"
        )
    return {"authorization": f"Bearer {key}"}
