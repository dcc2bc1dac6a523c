"""The gateway, put together: the only place where its parts meet.

A request goes through RequestLog, the errors' answers, the door, and then the express lane or the framework.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, TypedDict

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware

from policies.catalog import Catalog
from serve.adapters.registry import Registry
from serve.api import chat, contract, guardrail, models, moderations, responses, system, tokenize
from serve.api.errors import ErrorAnswers
from serve.api.inputs import InputGuards
from serve.api.lane import Lane
from serve.api.parts import Parts
from serve.api.records import Records
from serve.api.state import GatewayState
from serve.door.admission import Admission
from serve.door.fetch import open_fetcher
from serve.door.front import front_door
from serve.door.keys import KeyRing, KeyStore, KeyStoreAway
from serve.door.messages import Admitted, admit_conversation
from serve.door.pictures import PictureCache, Pictures
from serve.door.tallies import Tallies
from serve.drain import Drain
from serve.engine.client import open_session
from serve.engine.fleet import OnFatal, open_engines
from serve.engine.launch import Launcher
from serve.errors import GatewayError
from serve.gate.own import OwnJudge
from serve.gate.panel import GuardPanel, open_panel
from serve.gate.values import Stage
from serve.ledger.audit import open_ledger
from serve.ledger.keys import open_key_store
from serve.observe.metrics import Metrics
from serve.observe.multiprocess import Exposition, shared_registry
from serve.observe.requests import RequestLog
from serve.settings import Settings
from serve.worker import Post, at_keepers_engine

_log = logging.getLogger(__name__)
_LANE = {chat.PATH: chat.answer_chat, responses.PATH: responses.answer_responses}
_ROUTERS = (models.router, moderations.router, guardrail.router, tokenize.router, system.router)

Admit = Callable[[Sequence[Any]], Awaitable[Admitted]]


class LifespanState(TypedDict):
    """What every request finds in its state."""

    parts: Parts
    judge: OwnJudge
    gateway: GatewayState


def create_app(
    settings: Settings,
    registry: Registry,
    catalog: Catalog,
    on_fatal: OnFatal,
    launcher: Launcher | None = None,
    *,
    drain: Drain | None = None,
    post: Post | None = None,
) -> FastAPI:
    """One process of a gateway.

    `on_fatal` is told why the engines will never serve; `launcher` replaces vLLM; `drain` is the server's;
    `post` is this worker's, where several answer.
    """
    gateway = _Gateway(settings, registry, catalog, on_fatal, launcher, drain, post)
    app = FastAPI(
        title="Groundrule gateway",
        lifespan=gateway.lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    gateway.errors.install(app)
    for router in _ROUTERS:
        app.include_router(router)
    contract.describe(app)
    # The last one added is the outermost.
    app.add_middleware(Lane, endpoints={("POST", path): endpoint for path, endpoint in _LANE.items()})
    app.add_middleware(
        front_door,
        ring=gateway.ring,
        limits=settings.limits,
        tallies=gateway.tallies,
        metrics=gateway.metrics,
    )
    app.add_middleware(ExceptionMiddleware, handlers={GatewayError: gateway.errors.on_error})
    if settings.cors_origins:
        # Around the errors, which web pages are to read as well.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            # SDKs send a dozen of their own, others with every version, and none of them means anything here.
            allow_headers=["*"],
            expose_headers=["x-request-id", "retry-after"],
        )
    app.add_middleware(RequestLog)
    return app


class _Gateway:
    """What is there before the server starts, and what begins and ends with it."""

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        catalog: Catalog,
        on_fatal: OnFatal,
        launcher: Launcher | None,
        drain: Drain | None,
        post: Post | None,
    ) -> None:
        self.metrics = Metrics(CollectorRegistry())
        self.errors = ErrorAnswers(self.metrics)
        self.ring = KeyRing(settings.key_digests(), has_store=True, may_be_open=settings.is_local)
        self.tallies = (
            Tallies.shared(post.tallies, settings.workers, post.worker) if post else Tallies.alone()
        )
        self._settings = settings
        self._registry = registry
        self._catalog = catalog
        self._on_fatal = on_fatal
        self._launcher = launcher
        self._drain = drain or Drain(settings.drain_grace_s, settings.drain_timeout_s)
        self._post = post

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[LifespanState]:
        """Opened in this order and closed in the other one: whoever writes rows ends before the ledger."""
        settings, metrics, post = self._settings, self.metrics, self._post
        async with AsyncExitStack() as stack:
            stack.callback(self.tallies.close)
            await self._watch_keys(stack)
            ledger = await stack.enter_async_context(
                open_ledger(settings, metrics, post.worker if post else 0)
            )
            keeps_content = settings.ledger.enabled and settings.ledger.content
            records = Records(metrics, ledger, self._catalog, keeps_content=keeps_content)
            stack.push_async_callback(records.settled)
            panel = await stack.enter_async_context(open_panel(settings.guards, self._catalog, metrics))
            reached = at_keepers_engine(settings, post) if post else settings
            session = await stack.enter_async_context(open_session(reached.engine))
            engines = await stack.enter_async_context(
                open_engines(
                    reached,
                    self._registry,
                    session,
                    metrics,
                    self._on_fatal,
                    self._launcher,
                    loads=post is None,
                )
            )
            # One for all requests: a task for each of them costs more than a callback.
            deadline = asyncio.create_task(self._drain.deadline.wait())
            stack.push_async_callback(_cancelled, deadline)
            parts = Parts(
                registry=self._registry,
                catalog=self._catalog,
                turns=Admission(settings.limits, self.tallies, metrics),
                admit=await self._admit(stack),
                engines=engines,
                panel=panel,
                inputs=InputGuards(panel),
                ledger=ledger,
                records=records,
                errors=self.errors,
                gate=settings.gate,
                limits=settings.limits,
                guards_wait=_waits_for_replies(panel),
                parsing_pools=frozenset(pool.name for pool in settings.engine.pools if pool.reasoning_parser),
                deadline=deadline,
            )
            metrics.workers.set(1)
            yield {
                "parts": parts,
                "judge": OwnJudge(engines, self._registry, self._catalog, settings.guardrail),
                "gateway": GatewayState(
                    registry=self._registry,
                    pools=engines,
                    metrics=metrics,
                    exposition=Exposition(shared_registry(post.metrics) if post else metrics.registry),
                    drain=self._drain,
                    base_alias=settings.base_alias,
                    started=int(time.time()),
                ),
            }

    async def _watch_keys(self, stack: AsyncExitStack) -> None:
        """Keys of the table, from the first request on if it is there."""
        store: KeyStore = await stack.enter_async_context(open_key_store(self._settings))
        try:
            await self.ring.refresh(store)
        except KeyStoreAway as error:
            _log.warning("keys_not_read", extra={"fields": {"error": str(error)}})
        watching = asyncio.create_task(self.ring.keep_fresh(store))
        stack.push_async_callback(_cancelled, watching)

    async def _admit(self, stack: AsyncExitStack) -> Admit:
        """How messages and their pictures come in."""
        settings, metrics = self._settings, self.metrics
        limits = settings.limits
        fetcher = None
        if settings.images.allowed_hosts:
            opened = open_fetcher(settings.images, limits.image_bytes, metrics.picture_fetches)
            fetcher = await stack.enter_async_context(opened)
        pictures = Pictures(limits, PictureCache(settings.images.cache_bytes, metrics.picture_cache), fetcher)
        return partial(admit_conversation, pictures=pictures, most_images=limits.images_per_request)


def _waits_for_replies(panel: GuardPanel) -> bool:
    """Whether some guard is worth beginning before a reply is whole."""
    return any(panel.waits(stage) for stage in (Stage.REASONING, Stage.ANSWER))


async def _cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
