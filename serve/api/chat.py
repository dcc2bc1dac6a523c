"""POST /v1/chat/completions: OpenAI's, plus `reasoning` and `safety`."""

import json
from typing import Any

from fastapi import APIRouter, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serve.adapters.registry import Route
from serve.api.exchange import Ask, Exchange, Parts
from serve.api.reply import Reply
from serve.api.schemas import ChatRequest, Json, parse_chat
from serve.api.state import state_of
from serve.api.strict import strict_fields
from serve.door.messages import admit_messages
from serve.engine.replica import Replica
from serve.errors import EngineUnavailable, InvalidRequest
from serve.observe.requests import record_of
from serve.settings import LimitSettings

router = APIRouter()
_SCHEMA = {"application/json": {"schema": ChatRequest.model_json_schema()}}
_CONTRACT = {"requestBody": {"required": True, "content": _SCHEMA}}


@router.post("/v1/chat/completions", openapi_extra=_CONTRACT)
async def chat_completions(request: Request) -> Response:
    """Answer a conversation, plain or streamed."""
    gateway = state_of(request)
    try:
        body = await _read_json(request)
    except ClientDisconnect:
        gateway.metrics.requests.labels("none", "aborted").inc()
        record_of(request.scope).fields["outcome"] = "aborted"
        return _NoAnswer()
    asked = parse_chat(body)
    route = gateway.registry.resolve(asked.model or gateway.registry.default_alias)
    choices = _choices(asked, gateway.limits)
    messages = await admit_messages(asked.messages, gateway.limits)
    if not gateway.replica.is_ready:
        raise EngineUnavailable(gateway.replica.reason)
    ask = Ask(route, stream=bool(asked.stream), wants_usage=asked.wants_usage)
    strict = strict_fields(body, asked.safety, route.version, gateway.catalog)
    payload = _payload(body, messages, route, gateway.replica) | strict
    parts = Parts(gateway.client, gateway.metrics, gateway.errors)
    reply = Reply(route, choices, gateway.catalog)
    return Exchange(ask, payload, reply, parts, record_of(request.scope))


class _NoAnswer(Response):
    """Sends nothing: there is nobody left to read it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        pass


def _choices(asked: ChatRequest, limits: LimitSettings) -> int:
    choices = asked.n or 1
    if choices > limits.choices:
        raise InvalidRequest(f"n: at most {limits.choices} choices may be asked for", param="n")
    return choices


def _payload(body: Json, messages: list[Json], route: Route, replica: Replica) -> Json:
    """The request as the engine gets it: always a stream with usage, so both answers take one path."""
    return {
        # `safety` is ours: an engine would refuse or ignore it.
        **{name: value for name, value in body.items() if name != "safety"},
        "model": route.version.engine_name or replica.base_model,
        "messages": messages,
        "stream": True,
        "stream_options": {**(body.get("stream_options") or {}), "include_usage": True},
    }


async def _read_json(request: Request) -> Json:
    # Not request.body(): the request would keep it until its answer is over.
    raw = b"".join([piece async for piece in request.stream()])
    try:
        body = json.loads(raw, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("the body is not valid JSON") from error
    if not isinstance(body, dict):
        raise InvalidRequest("the body must be a JSON object")
    return body


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
