"""POST /tokenize: how many tokens a prompt or a conversation takes, by the engine's own tokenizer."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from serve.api.asking import CallerLeft, read_body, route_of
from serve.api.parameters import check_forging
from serve.api.parts import parts_of
from serve.api.wire import AsciiResponse
from serve.door.caller import caller_of
from serve.errors import InvalidRequest
from serve.observe.requests import request_id_of

router = APIRouter()
_TOLD = ("count", "max_model_len", "tokens")


@router.post("/tokenize")
async def tokenize(request: Request) -> Response:
    """`{"model": …, "prompt": …}`, or `messages` in place of the prompt."""
    parts = parts_of(request.scope)
    try:
        body = (await read_body(request.receive)).fields
    except CallerLeft:
        return Response()
    route = route_of(body.pop("model", None), caller_of(request.scope), parts)
    check_forging(body)
    if "messages" in body and "prompt" in body:
        raise InvalidRequest("give a prompt or messages, and not both", param="prompt")
    if "messages" in body:
        if not isinstance(body["messages"], list):
            raise InvalidRequest("messages must be a list", param="messages")
        body["messages"] = (await parts.admit(body["messages"])).messages
    elif not isinstance(body.get("prompt"), str):
        raise InvalidRequest("give a prompt or messages", param="prompt")
    told: dict[str, Any] = await parts.engines.tokenize(route, body, request_id_of(request.scope))
    return AsciiResponse({name: told[name] for name in _TOLD if name in told})
