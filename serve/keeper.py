"""A gateway of several processes, put together: the crew that answers, and what only one process may do.

The keeper supervises the engine if the gateway runs one, loads adapters, ships the audit and removes what is
over. It has the counts of all workers in a directory that lasts as long as it does.
"""

import asyncio
import socket
import tempfile
from pathlib import Path

from prometheus_client import CollectorRegistry

from serve.adapters.registry import Registry
from serve.crew import Command, Crew
from serve.door.tallies import Tallies
from serve.engine.client import open_session
from serve.engine.fleet import open_engines
from serve.engine.launch import Launcher
from serve.ledger.audit import open_shipping
from serve.observe.metrics import Metrics
from serve.observe.multiprocess import forget_process, share_metrics
from serve.settings import Settings
from serve.worker import Post

_NAME = "keeper"


def keep(
    settings: Settings,
    registry: Registry,
    listener: socket.socket,
    command: Command,
    launcher: Launcher | None = None,
    engine_url: str | None = None,
) -> tuple[int, list[str]]:
    """Run until told to stop: the exit code, and what ended the gateway if something did.

    `launcher` and `engine_url` are those of an embedded engine: workers reach it where it is always started.
    Raises SettingsError. No metric may have been made in this process before."""
    with tempfile.TemporaryDirectory(prefix="groundrule-") as directory:
        # Any post of this directory says where things are in it.
        post = Post(0, listener.fileno(), -1, Path(directory), engine_url)
        post.metrics.mkdir()
        share_metrics(post.metrics, _NAME)
        return asyncio.run(_keep(settings, registry, listener, command, launcher, post))


async def _keep(
    settings: Settings,
    registry: Registry,
    listener: socket.socket,
    command: Command,
    launcher: Launcher | None,
    post: Post,
) -> tuple[int, list[str]]:
    metrics = Metrics(CollectorRegistry())
    tallies = Tallies.shared(post.tallies, settings.workers, 0)
    fatal: list[str] = []

    def on_death(worker: int) -> None:
        forget_process(post.metrics, str(worker))
        tallies.forget(worker)

    def on_fatal(message: str) -> None:
        fatal.append(message)
        crew.stop()

    crew = Crew(
        listener,
        post.shared,
        command,
        on_death,
        workers=settings.workers,
        drain_s=settings.drain_grace_s + settings.drain_timeout_s,
        engine_url=post.engine_url,
    )
    try:
        async with (
            open_shipping(settings, metrics),
            open_session(settings.engine) as session,
            open_engines(settings, registry, session, metrics, on_fatal, launcher),
        ):
            code = await crew.run()
    finally:
        tallies.close()
    return (1 if fatal else code), fatal
