"""/healthz, /readyz and /metrics: for operators and machines, without keys."""

import asyncio

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.responses import Response

from serve.api.state import state_of

router = APIRouter()


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Liveness: this process answers. The engine's restarts are no reason to be killed."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(request: Request) -> JSONResponse:
    """Readiness: the engine is healthy and has every adapter."""
    replica = state_of(request).replica
    body = {"status": "ready" if replica.is_ready else "not ready", "engine": replica.state}
    if replica.is_ready:
        return JSONResponse({**body, "reasons": []})
    return JSONResponse({**body, "reasons": [replica.reason]}, status_code=503)


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Prometheus text, rendered off the event loop."""
    gateway = state_of(request)
    gateway.metrics.engine_up.set(gateway.replica.is_ready)
    text = await asyncio.to_thread(generate_latest, gateway.metrics.registry)
    return Response(text, media_type=CONTENT_TYPE_PLAIN_0_0_4)
