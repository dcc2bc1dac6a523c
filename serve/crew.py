"""Keeps several workers answering on one socket: starts them, replaces those that die, ends them together.

It knows of no request, no engine and no audit: only processes.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from asyncio.subprocess import Process
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from serve.drain import LAST_WORDS_S
from serve.worker import Post

_log = logging.getLogger(__name__)
_FIRST_BACKOFF_S: Final = 0.1
_LONGEST_BACKOFF_S: Final = 10.0
_STEADY_S: Final = 60.0
_MOST_FALSE_STARTS: Final = 3
_PATIENCE_S: Final = 10.0

Command = Callable[[Post], Sequence[str]]
"""How to start the worker of that post."""
OnDeath = Callable[[int], None]
"""Told which worker died, before another takes its place."""


class Crew:
    """As many workers as were asked for, for as long as `run` lasts."""

    def __init__(
        self,
        listener: socket.socket,
        shared: Path,
        command: Command,
        on_death: OnDeath,
        *,
        workers: int,
        drain_s: float,
        engine_url: str | None = None,
    ) -> None:
        """`drain_s`: the longest that a worker takes to stop, grace and drain together."""
        self._listener = listener
        self._shared = shared
        self._command = command
        self._on_death = on_death
        self._workers = workers
        self._drain_s = drain_s
        self._engine_url = engine_url
        self._alive: dict[int, Process] = {}
        self._false_starts = 0
        self._failed = False
        self._stopping = asyncio.Event()

    async def run(self) -> int:
        """Until `stop`, SIGTERM or Ctrl-C. 0, or 1 where workers do not come to answer at all."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        keeping = [asyncio.create_task(self._keep(worker)) for worker in range(self._workers)]
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait([stopping, *keeping], return_when=asyncio.FIRST_COMPLETED)
            self.stop()
            await asyncio.wait(keeping, timeout=self._drain_s + LAST_WORDS_S + _PATIENCE_S)
        finally:
            self._kill_all()
            stopping.cancel()
            ends = await asyncio.gather(*keeping, return_exceptions=True)
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
        for error in ends:
            if isinstance(error, BaseException):
                raise error
        return 1 if self._failed else 0

    def stop(self) -> None:
        """Let all workers drain. A second time changes nothing."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        # The workers accept until their grace is over; what only this process held open would wait in vain.
        self._listener.close()
        for process in self._alive.values():
            _signal(process, signal.SIGTERM)

    async def _keep(self, worker: int) -> None:
        """A worker of that number, one life after the other."""
        backoff_s = _FIRST_BACKOFF_S
        while not self._stopping.is_set():
            started = time.monotonic()
            try:
                await self._live_once(worker)
            except OSError as error:  # no memory or no process to be had, for now
                self._false_starts += 1
                _log.error("worker_start_failed", extra={"fields": {"worker": worker, "error": str(error)}})
            if self._stopping.is_set():
                return
            if self._false_starts >= _MOST_FALSE_STARTS:
                self._fail()
                return
            if time.monotonic() - started > _STEADY_S:
                backoff_s = _FIRST_BACKOFF_S
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), backoff_s)
            backoff_s = min(backoff_s * 2, _LONGEST_BACKOFF_S)

    async def _live_once(self, worker: int) -> None:
        told, ready = os.pipe()
        try:
            process = await self._spawn(worker, ready)
        except OSError:
            os.close(told)
            raise
        finally:
            os.close(ready)
        self._alive[worker] = process
        if self._stopping.is_set():  # told to stop while it was being started
            _signal(process, signal.SIGTERM)
        try:
            answered = await _says_something(told)
            self._false_starts = 0 if answered else self._false_starts + 1
            code = await process.wait()
        finally:
            del self._alive[worker]
            self._on_death(worker)
        if not self._stopping.is_set():
            fields = {"worker": worker, "pid": process.pid, "exit_code": code, "had_answered": answered}
            _log.error("worker_died", extra={"fields": fields})

    async def _spawn(self, worker: int, ready: int) -> Process:
        post = Post(worker, self._listener.fileno(), ready, self._shared, self._engine_url)
        # A worker whose keeper was killed would answer on, and nobody could stop it.
        leash = (sys.executable, "-m", "serve.engine.leash", str(os.getpid()))
        return await asyncio.create_subprocess_exec(
            *leash,
            *self._command(post),
            pass_fds=(post.listener, post.ready),
            stdin=asyncio.subprocess.DEVNULL,
        )

    def _fail(self) -> None:
        _log.error("workers_do_not_start", extra={"fields": {"tries": self._false_starts}})
        self._failed = True
        self.stop()

    def _kill_all(self) -> None:
        for process in self._alive.values():
            _signal(process, signal.SIGKILL)


async def _says_something(pipe: int) -> bool:
    """Whether anything comes before the other side is gone."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(pipe, "rb")
    )
    try:
        return bool(await reader.read(1))
    finally:
        transport.close()


def _signal(process: Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)
