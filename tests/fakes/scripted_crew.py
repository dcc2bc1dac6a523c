"""A gateway of several workers that answer with little: who they are, and a reply that takes its time.

    python -m tests.fakes.scripted_crew <state directory> <workers>

It prints where it listens. `GET /pid`; `GET /reply?seconds=N`, an audit row each; `GET /metrics`, of all
workers together; `GET /held`, what all hold by the tallies. While the state directory has a file `broken`,
no worker starts.
"""

import asyncio
import itertools
import os
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from prometheus_client import CollectorRegistry, Gauge
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from serve.door.tallies import GATEWAY, Held, Tallies
from serve.drain import Drain
from serve.ledger.audit import open_ledger
from serve.ledger.interaction import Ledger
from serve.observe.log import configure_logging
from serve.observe.metrics import Metrics
from serve.observe.multiprocess import Exposition, shared_registry
from serve.settings import Settings
from serve.worker import Post, WorkingServer, take_post
from tests.serve.audit_rows import interaction


def main(arguments: Sequence[str]) -> int:
    """The keeper, or (as it starts it) one of its workers."""
    configure_logging()
    if arguments[0] == "worker":
        return be_worker(settings_of(arguments[1:3]), Post.from_arguments(arguments[3:]))
    # Workers need none of it.
    from policies.catalog import load_catalog
    from serve.adapters.registry import build_registry
    from serve.keeper import keep

    settings = settings_of(arguments)
    listener = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"http://127.0.0.1:{listener.getsockname()[1]}\n")
    sys.stdout.flush()

    def command(post: Post) -> list[str]:
        if (settings.state_dir / "broken").exists():
            return [sys.executable, "-c", "raise SystemExit(2)"]
        program = [sys.executable, "-m", "tests.fakes.scripted_crew", "worker", *arguments]
        return [*program, *post.arguments()]

    code, _ = keep(settings, build_registry(settings, load_catalog()), listener, command)
    return code


def settings_of(arguments: Sequence[str]) -> Settings:
    """Of a gateway whose engine is never there, and never needed."""
    return Settings(
        engine={"remote": {"url": "http://127.0.0.1:9"}},  # type: ignore[arg-type]
        state_dir=Path(arguments[0]),
        workers=int(arguments[1]),
    )


def be_worker(settings: Settings, post: Post) -> int:
    """Answer."""
    take_post(post)
    drain = Drain(0, settings.drain_timeout_s)
    WorkingServer(uvicorn.Config(application(settings, post), log_config=None), drain, post).answer()
    return 0


def application(settings: Settings, post: Post) -> ASGIApp:
    """What a worker answers."""
    metrics = Metrics(CollectorRegistry())
    in_flight = Gauge("under_way", "Replies.", multiprocess_mode="livesum", registry=metrics.registry)
    tallies = Tallies.shared(post.tallies, settings.workers, post.worker)
    exposition = Exposition(shared_registry(post.metrics))
    numbers = itertools.count(1000 * os.getpid())

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Ledger]]:
        async with open_ledger(settings, metrics, post.worker) as ledger:
            yield {"ledger": ledger}

    async def pid(_: Request) -> Response:
        return PlainTextResponse(str(os.getpid()))

    async def reply(request: Request) -> Response:
        tallies.take(GATEWAY, Held.REQUESTS, 1, 1000)
        in_flight.inc()
        await asyncio.sleep(float(request.query_params["seconds"]))
        request.state.ledger.write(interaction(next(numbers)))
        in_flight.dec()
        tallies.give_back(GATEWAY, Held.REQUESTS, 1)
        return PlainTextResponse(str(os.getpid()))

    async def scrape(_: Request) -> Response:
        return PlainTextResponse(await exposition.text())

    async def held(_: Request) -> Response:
        return PlainTextResponse(str(tallies.held(GATEWAY, Held.REQUESTS)))

    routes = [("/pid", pid), ("/reply", reply), ("/metrics", scrape), ("/held", held)]
    return Starlette(routes=[Route(path, endpoint) for path, endpoint in routes], lifespan=lifespan)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
