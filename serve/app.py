"""The gateway, put together: the only place where its parts meet."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TypedDict

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.middleware.exceptions import ExceptionMiddleware

from policies.catalog import Catalog
from serve.adapters.load import load_adapters
from serve.adapters.registry import Registry
from serve.api import chat, models, system
from serve.api.errors import ErrorAnswers
from serve.api.state import GatewayState
from serve.door.auth import RequireKey
from serve.door.body import BodyCap
from serve.door.limits import InFlightCap
from serve.engine.client import EngineClient, open_session
from serve.engine.embedded import EmbeddedEngine
from serve.engine.launch import BASE_NAME, Launcher, launch_vllm
from serve.engine.remote import RemoteEngine
from serve.engine.replica import Replica
from serve.engine.supervisor import EngineStartError, Supervisor
from serve.errors import GatewayError
from serve.observe.metrics import Metrics
from serve.observe.requests import RequestLog
from serve.settings import Settings

_log = logging.getLogger(__name__)

OnFatal = Callable[[str], None]


class LifespanState(TypedDict):
    """What every request finds in its state."""

    gateway: GatewayState


def create_app(
    settings: Settings,
    registry: Registry,
    catalog: Catalog,
    on_fatal: OnFatal,
    launcher: Launcher | None = None,
) -> FastAPI:
    """A gateway. `on_fatal` is told why the engine will never serve; `launcher` replaces vLLM."""
    metrics = Metrics(CollectorRegistry())
    errors = ErrorAnswers(metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[LifespanState]:
        async with open_session(settings.engine) as session:
            replica = Replica()
            client = EngineClient(replica, session)
            supervisor = _supervisor(settings, registry, replica, client, metrics, launcher)
            on_up = partial(load_adapters, registry, client)
            supervising = asyncio.create_task(supervisor.run(on_up))
            supervising.add_done_callback(partial(_tell_the_end, on_fatal))
            try:
                yield {
                    "gateway": GatewayState(
                        registry=registry,
                        catalog=catalog,
                        replica=replica,
                        client=client,
                        limits=settings.limits,
                        metrics=metrics,
                        errors=errors,
                        base_alias=settings.base_alias,
                        started=int(time.time()),
                    )
                }
            finally:
                supervising.cancel()
                await asyncio.gather(supervising, return_exceptions=True)

    app = FastAPI(title="Groundrule gateway", lifespan=lifespan, docs_url=None, redoc_url=None)
    errors.install(app)
    for module in (chat, models, system):
        app.include_router(module.router)
    # The last one added is the outermost.
    app.add_middleware(BodyCap, limit_bytes=settings.limits.body_bytes)
    app.add_middleware(InFlightCap, limit=settings.limits.in_flight, gauge=metrics.in_flight)
    app.add_middleware(RequireKey, key_digests=settings.key_digests())
    app.add_middleware(ExceptionMiddleware, handlers={GatewayError: errors.on_error})
    app.add_middleware(RequestLog)
    return app


def _supervisor(
    settings: Settings,
    registry: Registry,
    replica: Replica,
    client: EngineClient,
    metrics: Metrics,
    launcher: Launcher | None,
) -> Supervisor:
    if settings.engine.remote:
        expected = [v.engine_name for v in registry.adapters if v.engine_name]
        return RemoteEngine(settings.engine.remote, replica, client, expected)
    embedded = settings.engine.embedded
    if embedded is None:
        raise ValueError("settings name no engine")  # Settings refuses that
    replica.base_model = BASE_NAME
    default = partial(launch_vllm, embedded, settings.limits.images_per_request)
    return EmbeddedEngine(embedded, launcher or default, replica, client, metrics)


def _tell_the_end(on_fatal: OnFatal, supervising: asyncio.Task[None]) -> None:
    """However supervision ended, unless the gateway cancelled it: nobody would start the engine again."""
    if supervising.cancelled():
        return
    error = supervising.exception()
    if isinstance(error, EngineStartError):
        _log.error("engine_start_failed", extra={"fields": {"error": str(error)}})
        on_fatal(str(error))
    else:
        _log.error("supervision_failed", exc_info=error)
        on_fatal(f"nobody looks after the engine any more: {error!r}")
