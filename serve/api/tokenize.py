"""POST /tokenize: how many tokens a prompt or a conversation takes, by the engine's own tokenizer."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from serve.api.asking import CallerLeft, read_body, route_of
from serve.api.parameters import check_forging
from serve.api.parts import parts_of
from serve.api.wire import AsciiResponse, nobody
from serve.door.caller import caller_of
from serve.door.presence import while_present
from serve.errors import InvalidRequest
from serve.observe.requests import request_id_of

router = APIRouter()
Json = dict[str, Any]
_TOLD = ("count", "max_model_len", "tokens")


@router.post("/tokenize")
async def tokenize(request: Request) -> Response:
    """`{"model": …, "prompt": …}`, or `messages` in place of the prompt."""
    parts = parts_of(request.scope)
    try:
        body = (await read_body(request.receive)).fields
    except CallerLeft:
        return nobody()
    caller = caller_of(request.scope)
    route = route_of(body.pop("model", None), caller, parts)
    _check(body)
    told: Json = {}

    async def work() -> None:
        async with parts.turns.admitted(caller) as place:
            place.used_tokens = 0  # they are counted, and none is generated
            if "messages" in body:
                body["messages"] = (await parts.admit(body["messages"])).messages
            told.update(await parts.engines.tokenize(route, body, request_id_of(request.scope)))

    if not await while_present(request.receive, work(), parts.deadline):
        return nobody()
    return AsciiResponse({name: told[name] for name in _TOLD if name in told})


def _check(body: Json) -> None:
    check_forging(body)
    if "messages" in body and "prompt" in body:
        raise InvalidRequest("give a prompt or messages, and not both", param="prompt")
    if "messages" in body:
        if not isinstance(body["messages"], list):
            raise InvalidRequest("messages must be a list", param="messages")
    elif not isinstance(body.get("prompt"), str):
        raise InvalidRequest("give a prompt or messages", param="prompt")
