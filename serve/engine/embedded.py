"""An engine as a supervised child process: started, watched, started again when it dies, always stopped.

It lives in a process group of its own, which is ended as a whole, since vLLM's workers may outlive a
killed server; `leash` ends it when the gateway itself is killed.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import tempfile
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

from serve.engine.client import EngineClient
from serve.engine.launch import Launch, Launcher
from serve.engine.replica import Replica
from serve.engine.supervisor import EngineStartError, OnUp
from serve.observe.metrics import Metrics
from serve.options.engine import EmbeddedSettings

_log = logging.getLogger(__name__)
_LOG_LINES_SHOWN = 25
_LOG_TAIL_BYTES = 32_768
_FIRST_BACKOFF_S = 1.0
_LONGEST_BACKOFF_S = 60.0
_HEALTH_POLL_S = 0.25


class EmbeddedEngine:
    """One supervised engine process."""

    def __init__(
        self,
        settings: EmbeddedSettings,
        launcher: Launcher,
        replica: Replica,
        client: EngineClient,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._launcher = launcher
        self._replica = replica
        self._client = client
        self._metrics = metrics
        self.log_path = settings.log or Path(tempfile.mkdtemp(prefix="groundrule-engine-")) / "engine.log"

    async def run(self, on_up: OnUp) -> None:
        """Start the engine, and start it again whenever it dies; the first start must succeed."""
        try:
            await self._live_once(on_up)
            backoff_s = _FIRST_BACKOFF_S
            while True:
                self._metrics.engine_restarts.inc()
                await asyncio.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, _LONGEST_BACKOFF_S)
                try:
                    await self._live_once(on_up)
                    backoff_s = _FIRST_BACKOFF_S
                except EngineStartError as error:
                    self._replica.become("down", "the engine did not start again; trying on")
                    _log.error("engine_start_failed", extra={"fields": {"error": str(error)}})
        finally:
            self._replica.become("stopped", "the gateway is stopping")

    async def _live_once(self, on_up: OnUp) -> None:
        """One life of the engine: returns when a healthy engine died, raises when it never got healthy."""
        self._replica.become("starting", "the engine is starting")
        async with self._process() as process:
            await self._until_healthy(process)
            self._replica.become("loading adapters", "adapters are being loaded")
            await self._while_alive(process, on_up)
            self._replica.become("ready")
            _log.info("engine_ready", extra={"fields": {"url": self._replica.url, "pid": process.pid}})
            code = await process.wait()
            self._replica.become("down", "the engine died and is being started again")
            fields = {"exit_code": code, "log": str(self.log_path), "last_lines": self._last_lines()}
            _log.error("engine_died", extra={"fields": fields})

    @contextlib.asynccontextmanager
    async def _process(self) -> AsyncIterator[Process]:
        try:
            launch = self._launcher()
            process = await self._spawn(launch)
        except OSError as error:
            raise EngineStartError(f"the engine's process cannot be started: {error}") from error
        self._replica.url = launch.url
        fields = {"pid": process.pid, "url": launch.url, "log": str(self.log_path)}
        _log.info("engine_starting", extra={"fields": fields})
        try:
            yield process
        finally:
            await _end_group(process, self._settings.stop_timeout_s)

    async def _spawn(self, launch: Launch) -> Process:
        leash = (sys.executable, "-m", "serve.engine.leash", str(os.getpid()))
        with self._open_log() as log:
            return await asyncio.create_subprocess_exec(
                *leash,
                *launch.argv,
                env=launch.environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _open_log(self) -> BinaryIO:
        try:
            self.log_path.parent.mkdir(parents=True, exist_ok=True)
            return self.log_path.open("ab")
        except OSError as error:
            raise EngineStartError(f"cannot write the engine's log {self.log_path}: {error}") from error

    async def _until_healthy(self, process: Process) -> None:
        async def poll() -> None:
            while not await self._client.is_healthy():
                await asyncio.sleep(_HEALTH_POLL_S)

        try:
            async with asyncio.timeout(self._settings.start_timeout_s):
                await self._while_alive(process, poll)
        except TimeoutError:
            limit = self._settings.start_timeout_s
            raise self._start_error(f"the engine was not healthy after {limit:g} s") from None

    async def _while_alive(self, process: Process, work: OnUp) -> None:
        """Do the work, unless the process ends first."""
        working = asyncio.ensure_future(work())
        ended = asyncio.ensure_future(process.wait())
        try:
            await asyncio.wait((working, ended), return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise self._start_error(f"the engine ended with exit code {process.returncode}")
            working.result()
        finally:
            for task in (working, ended):
                task.cancel()
            await asyncio.gather(working, ended, return_exceptions=True)

    def _start_error(self, what: str) -> EngineStartError:
        return EngineStartError(f"{what}; the last lines of {self.log_path}:\n{self._last_lines()}")

    def _last_lines(self) -> str:
        try:
            with self.log_path.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_TAIL_BYTES))
                lines = file.read().decode(errors="replace").splitlines()
        except OSError as error:  # a cleaner of temporary directories removed it, say
            return f"(the log cannot be read: {error.strerror})"
        return "\n".join(lines[-_LOG_LINES_SHOWN:])


async def _end_group(process: Process, patience_s: float) -> None:
    """End the whole process group: politely, then for certain."""
    if process.returncode is None:
        _signal_group(process.pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), patience_s)
    # Also when the server ended by itself: its workers may still be there.
    _signal_group(process.pid, signal.SIGKILL)
    await process.wait()


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)
