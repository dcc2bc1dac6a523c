"""The parts of a gateway that must stop well, around replies that only take time.

    python -m tests.fakes.scripted_gateway <state directory> <seconds of grace> <seconds of drain>

It prints where it listens. `GET /reply?seconds=N` is a reply of a line every tenth of a second, then `done`;
at the drain's deadline it ends with `stopping`. Each is an audit row, `i_0` first.
"""

import asyncio
import itertools
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from serve.drain import Drain, DrainingServer
from serve.ledger.audit import open_ledger
from serve.ledger.interaction import Ledger
from serve.observe.metrics import Metrics
from serve.settings import Settings
from tests.serve.audit_rows import interaction


def main(state_dir: str, grace_s: str, timeout_s: str) -> int:
    """Serve until a signal comes."""
    settings = Settings(
        engine={"remote": {"url": "http://127.0.0.1:9"}},  # type: ignore[arg-type]
        state_dir=Path(state_dir),
    )
    drain = Drain(float(grace_s), float(timeout_s))
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(application(settings, drain), log_config=None, access_log=False)
    server = DrainingServer(config, drain)
    sys.stdout.write(f"http://127.0.0.1:{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    server.run(sockets=[listener])
    return 0


def application(settings: Settings, drain: Drain) -> Starlette:
    """What it answers."""
    numbers = itertools.count()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Ledger]]:
        async with open_ledger(settings, Metrics(CollectorRegistry())) as ledger:
            yield {"ledger": ledger}

    async def readyz(_: Request) -> Response:
        return PlainTextResponse("", 503 if drain.is_draining else 200)

    async def reply(request: Request) -> Response:
        tenths = int(float(request.query_params["seconds"]) * 10)

        async def lines() -> AsyncIterator[str]:
            try:
                for tenth in range(tenths):
                    yield f"{tenth}\n"
                    await asyncio.sleep(0.1)
                    if drain.deadline.is_set():
                        yield "stopping\n"
                        return
                yield "done\n"
            finally:
                request.state.ledger.write(interaction(next(numbers)))

        return StreamingResponse(lines())

    return Starlette(routes=[Route("/readyz", readyz), Route("/reply", reply)], lifespan=lifespan)


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
