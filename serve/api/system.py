"""/healthz, /readyz and /metrics: for operators and machines, without keys."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
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
    """Readiness: every alias has a healthy engine with its adapter, and nobody stops the gateway."""
    gateway = state_of(request)
    engines = gateway.pools.readiness()
    reasons = [] if engines.is_ready else [engines.reason]
    if gateway.drain.is_draining:
        reasons.append("the gateway is being stopped")
    body = {"status": "not ready" if reasons else "ready", "engines": dict(engines.pools), "reasons": reasons}
    return JSONResponse(body, status_code=503 if reasons else 200)


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Prometheus text, of all workers."""
    gateway = state_of(request)
    gateway.pools.measure()
    return Response(await gateway.exposition.text(), media_type=CONTENT_TYPE_PLAIN_0_0_4)
