"""An engine that somebody else runs: polled, and given its adapters again whenever it came back."""

import asyncio
import logging
from collections.abc import Collection, Mapping

from serve.engine.client import EngineClient
from serve.engine.replica import Replica
from serve.engine.supervisor import EngineStartError, OnUp

_log = logging.getLogger(__name__)


class Watch:
    """Keeps one replica true."""

    def __init__(
        self,
        replica: Replica,
        client: EngineClient,
        *,
        expected: Collection[str],
        model: str | None = None,
        poll_interval_s: float = 2,
    ) -> None:
        self._replica = replica
        self._client = client
        self._expected = frozenset(expected)
        """Names the engine must list, those of adapters among them; one missing means: it was restarted."""
        self._model = model
        self._poll_interval_s = poll_interval_s
        self._said = ""
        replica.become("starting", "the engine was not reached yet")

    async def run(self, on_up: OnUp) -> None:
        """Poll until cancelled. An engine that is not there yet is waited for, never an error."""
        try:
            while True:
                await self._check(on_up)
                await asyncio.sleep(self._poll_interval_s)
        finally:
            self._replica.become("stopped", "the engine is not asked any more")

    async def _check(self, on_up: OnUp) -> None:
        if not await self._client.is_healthy():
            self._lose("the engine does not answer its health check", None)
            return
        try:
            if not self._client.kind.lists_models:
                self._replica.base_model = self._model or ""
            elif await self._has_everything(on_up):
                return
        except EngineStartError as error:
            self._lose("the engine does not have every model yet", error)
            return
        self._become_ready()

    async def _has_everything(self, on_up: OnUp) -> bool:
        """True if nothing had to be done; raises EngineStartError if it cannot be done."""
        offered = await self._client.model_parents()
        if self._replica.state == "ready" and self._expected <= offered.keys():
            return True
        self._replica.base_model = self._base_model(offered)
        self._replica.become("loading adapters", "adapters are being loaded")
        await on_up()
        return False

    def _base_model(self, offered: Mapping[str, str | None]) -> str:
        bases = [name for name, parent in offered.items() if parent is None]
        if not bases or (self._model and self._model not in bases):
            raise EngineStartError(f"the engine offers no base model {self._model or ''}; it has {bases}")
        return self._model or bases[0]

    def _become_ready(self) -> None:
        if self._replica.state != "ready":
            _log.info("engine_ready", extra={"fields": {"url": self._replica.url}})
        self._replica.become("ready")
        self._said = ""

    def _lose(self, reason: str, error: EngineStartError | None) -> None:
        if reason not in (self._replica.reason, self._said):  # once, not at every poll
            _log.error("engine_lost", extra={"fields": {"reason": reason, "error": error and str(error)}})
        self._said = reason
        self._replica.become("down", reason)
