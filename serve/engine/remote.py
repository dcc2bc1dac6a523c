"""An engine that somebody else runs: polled, and given its adapters again whenever it came back."""

import asyncio
import logging
from collections.abc import Collection, Mapping

from serve.engine.client import EngineClient
from serve.engine.replica import Replica
from serve.engine.supervisor import EngineStartError, OnUp
from serve.settings import RemoteSettings

_log = logging.getLogger(__name__)


class RemoteEngine:
    """One running engine that the gateway connects to."""

    def __init__(
        self, settings: RemoteSettings, replica: Replica, client: EngineClient, expected: Collection[str]
    ) -> None:
        self._settings = settings
        self._replica = replica
        self._client = client
        self._expected = frozenset(expected)
        """Names of adapters the engine must list; one missing means that it was restarted."""
        self._said = ""
        replica.url = settings.url.rstrip("/")
        replica.become("starting", "the engine was not reached yet")

    async def run(self, on_up: OnUp) -> None:
        """Poll until cancelled. An engine that is not there yet is waited for, never an error."""
        while True:
            await self._check(on_up)
            await asyncio.sleep(self._settings.poll_interval_s)

    async def _check(self, on_up: OnUp) -> None:
        if not await self._client.is_healthy():
            self._lose("the engine does not answer its health check", None)
            return
        try:
            offered = await self._client.model_parents()
            if self._replica.is_ready and self._expected <= offered.keys():
                return
            self._replica.base_model = self._base_model(offered)
            self._replica.become("loading adapters", "adapters are being loaded")
            await on_up()
        except EngineStartError as error:
            self._lose("the engine does not have every model yet", error)
            return
        self._replica.become("ready")
        self._said = ""
        _log.info("engine_ready", extra={"fields": {"url": self._replica.url}})

    def _base_model(self, offered: Mapping[str, str | None]) -> str:
        wanted = self._settings.model
        bases = [name for name, parent in offered.items() if parent is None]
        if not bases or (wanted and wanted not in bases):
            raise EngineStartError(f"the engine offers no base model {wanted or ''}; it has {bases}")
        return wanted or bases[0]

    def _lose(self, reason: str, error: EngineStartError | None) -> None:
        if reason not in (self._replica.reason, self._said):  # once, not at every poll
            _log.error("engine_lost", extra={"fields": {"reason": reason, "error": error and str(error)}})
        self._said = reason
        self._replica.become("down", reason)
