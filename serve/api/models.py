"""GET /v1/models: the names that callers may use."""

from typing import Any

from fastapi import APIRouter, Request

from serve.adapters.registry import Route
from serve.api.asking import route_of
from serve.api.parts import parts_of
from serve.api.state import GatewayState, state_of
from serve.door.caller import caller_of

router = APIRouter()
Json = dict[str, Any]


@router.get("/v1/models")
async def list_models(request: Request) -> Json:
    """Every alias that the key may use, with the version it points to as its root."""
    gateway, models = state_of(request), caller_of(request.scope).models
    routes = (Route(alias, version) for alias, version in gateway.registry.aliases.items())
    cards = [_card(route, gateway) for route in routes if models is None or route.alias in models]
    return {"object": "list", "data": cards}


@router.get("/v1/models/{model}")
async def retrieve_model(request: Request, model: str) -> Json:
    """One alias."""
    return _card(route_of(model, caller_of(request.scope), parts_of(request.scope)), state_of(request))


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
