"""One of several processes that answer: its place among them, and its server. What it answers is not here."""

import argparse
import logging
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import uvicorn

from serve.drain import Drain, DrainingServer
from serve.engine.launch import BASE_NAME
from serve.observe.multiprocess import share_metrics
from serve.options.engine import EngineSettings, RemoteSettings
from serve.settings import Settings

_log = logging.getLogger(__name__)
_POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class Post:
    """A worker's place: who it is, and what it shares with the others."""

    worker: int
    """From 0 on; a replacement has the number of the one that died."""
    listener: int
    """File descriptor of the socket that all accept from."""
    ready: int
    """File descriptor that is told once it accepts."""
    shared: Path
    """Directory for as long as the gateway runs."""
    engine_url: str | None = None
    """Where the keeper's own engine listens, if it runs one."""

    @property
    def metrics(self) -> Path:
        """Directory of every process's metrics."""
        return self.shared / "metrics"

    @property
    def tallies(self) -> Path:
        """File of the counts that limits go by."""
        return self.shared / "tallies"

    def arguments(self) -> list[str]:
        """For a command line; `from_arguments` reads them."""
        told = {"worker": self.worker, "listener": self.listener, "ready": self.ready, "shared": self.shared}
        spelled = [part for name, value in told.items() for part in (f"--{name}", str(value))]
        return spelled + (["--engine-url", self.engine_url] if self.engine_url else [])

    @classmethod
    def from_arguments(cls, arguments: Sequence[str]) -> Self:
        """Of a process that a keeper started."""
        parser = argparse.ArgumentParser(prog="worker")
        for name in ("--worker", "--listener", "--ready"):
            parser.add_argument(name, type=int, required=True)
        parser.add_argument("--shared", type=Path, required=True)
        parser.add_argument("--engine-url")
        return cls(**vars(parser.parse_args(arguments)))


class WorkingServer(DrainingServer):
    """A worker's server, which tells the keeper as soon as it accepts."""

    def __init__(self, config: uvicorn.Config, drain: Drain, post: Post) -> None:
        super().__init__(config, drain)
        self._post = post

    def answer(self) -> None:
        """Until told to stop."""
        fields = {"worker": self._post.worker, "pid": os.getpid()}
        _log.info("worker_started", extra={"fields": fields})
        self.run(sockets=[socket.socket(fileno=self._post.listener)])

    async def main_loop(self) -> None:
        """As every server's."""
        os.write(self._post.ready, b"1")
        os.close(self._post.ready)
        await super().main_loop()


def at_keepers_engine(settings: Settings, post: Post) -> Settings:
    """For what asks the engine: the keeper runs it, so for a worker it is somebody else's.

    Adapters are verified by the settings as they were."""
    if post.engine_url is None:
        return settings
    engine = settings.engine
    elsewhere = EngineSettings(
        remote=RemoteSettings(url=post.engine_url, model=BASE_NAME, poll_interval_s=_POLL_S),
        connect_timeout_s=engine.connect_timeout_s,
        read_timeout_s=engine.read_timeout_s,
    )
    return settings.model_copy(update={"engine": elsewhere})


def take_post(post: Post) -> None:
    """First of all, before any metric is made."""
    share_metrics(post.metrics, str(post.worker))
