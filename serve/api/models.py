"""GET /v1/models: the names that callers may use."""

from typing import Any

from fastapi import APIRouter, Request

from serve.adapters.registry import Route
from serve.api.state import GatewayState, state_of

router = APIRouter()
Json = dict[str, Any]


@router.get("/v1/models")
async def list_models(request: Request) -> Json:
    """Every alias, with the version it points to as its root."""
    gateway = state_of(request)
    routes = (Route(alias, version) for alias, version in gateway.registry.aliases.items())
    return {"object": "list", "data": [_card(route, gateway) for route in routes]}


@router.get("/v1/models/{model}")
async def retrieve_model(request: Request, model: str) -> Json:
    """One alias."""
    gateway = state_of(request)
    return _card(gateway.registry.resolve(model), gateway)


def _card(route: Route, gateway: GatewayState) -> Json:
    adapter = route.version.adapter
    return {
        "id": route.alias,
        "object": "model",
        "created": gateway.started,
        "owned_by": "groundrule",
        "root": adapter or route.alias,
        "parent": gateway.base_alias if adapter else None,
    }
