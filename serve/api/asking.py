"""A chat request, checked: who is asked, how the reply is to be handled, and what the engine will get.

Both APIs come through here; a responses request was made a chat request before.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, Literal

from starlette.types import Receive

from serve.adapters.registry import Route
from serve.api.asked import Asked
from serve.api.categorising import category_of
from serve.api.context import with_policies
from serve.api.handling import handling_of
from serve.api.parameters import Circumstances, check
from serve.api.parts import Parts
from serve.api.schemas import ChatRequest, Json, SafetyOptions, parse_chat
from serve.api.strict import strict_fields
from serve.api.usage import Usage
from serve.door.caller import Caller
from serve.door.messages import Admitted
from serve.errors import InvalidRequest, UnknownModel
from serve.ledger.interaction import Api

_OURS = frozenset({"safety", "model", "messages", "stream", "stream_options"})
"""Not forwarded as they are: the gateway's own, or filled in by the pool."""
_PICTURES = ("image_url", "input_image")
MOST_LEVELS: Final = 100
"""Of a body's lists and objects within one another: deeper ones cannot be written as JSON any more."""


class CallerLeft(Exception):
    """Nobody waits for an answer any more."""


@dataclass(frozen=True, slots=True)
class Body:
    """A request's body, read."""

    fields: Json
    digest: str


async def read_body(receive: Receive) -> Body:
    """Raises InvalidRequest, and CallerLeft where the caller left before its last byte."""
    pieces: list[bytes] = []
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise CallerLeft
        pieces.append(message.get("body", b""))
        more = message.get("more_body", False)
    raw = b"".join(pieces)
    try:
        fields = json.loads(raw, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("the body is not valid JSON") from error
    if not isinstance(fields, dict):
        raise InvalidRequest("the body must be a JSON object")
    if _is_deep(fields, raw):
        raise InvalidRequest(f"the body may be nested {MOST_LEVELS} levels deep, and is deeper")
    return Body(fields, hashlib.sha256(raw).hexdigest())


def route_of(model: Any, caller: Caller, parts: Parts) -> Route:
    """Where a request for this model goes, None being the default alias; raises UnknownModel."""
    alias = parts.registry.default_alias if model is None else model
    if not isinstance(alias, str):
        raise InvalidRequest("model must be a string", param="model")
    if caller.models is not None and alias not in caller.models:
        # As if it did not exist: names are not to be found out by asking.
        raise UnknownModel(f"there is no model {alias[:100]!r}; GET /v1/models lists them", param="model")
    return parts.registry.resolve(alias)


def asked_of(body: Json, digest: str, api: Api, caller: Caller, parts: Parts) -> Asked:
    """Raises InvalidRequest, UnsupportedParameter and UnknownModel."""
    request = parse_chat(body)
    route = route_of(request.model, caller, parts)
    options = request.safety or SafetyOptions()
    handling = handling_of(
        parts.gate,
        caller,
        route.version,
        asked_mode=options.mode,
        shown=options.trace,
        has_picture=any(map(_has_picture, request.messages)),
    )
    parses_reasoning = route.version.pool in parts.parsing_pools
    check(body, Circumstances(handling, parses_reasoning))
    return Asked(
        api=api,
        caller=caller,
        route=route,
        handling=handling,
        options=options,
        choices=_choices(request, parts.limits.choices),
        stream=bool(request.stream),
        wants_usage=request.wants_usage,
        stops=_stops(body.get("stop")),
        tokens=_tokens(body),
        digest=digest,
    )


async def payload_of(
    body: Json, asked: Asked, parts: Parts, request_id: str, usage: Usage
) -> tuple[Json, Admitted]:
    """What the engine gets, and what of it is the caller's.

    Raises InvalidRequest and InvalidImage; Undecided, and what the engines raise, where a category is asked
    for, whose tokens count as the request's own.
    """
    admitted = await parts.admit(body["messages"])
    version, catalog = asked.route.version, parts.catalog
    strict = strict_fields(body, asked.options, version, catalog)
    wanted: Literal["auto"] | Sequence[str] | None
    if asked.options.policy_in_context == "categorised":
        category = await category_of(admitted.messages, asked.route, parts.engines, catalog, request_id)
        usage.add(category.usage)
        wanted = [category.policy.id] if category.policy else None
    else:
        wanted = asked.options.policy_in_context
    messages = with_policies(admitted.messages, wanted, version, catalog, parts.gate.policy_tokens)
    passed_on = {name: value for name, value in body.items() if name not in _OURS}
    return {**passed_on, "messages": messages, **strict}, admitted


def _choices(request: ChatRequest, most: int) -> int:
    choices = request.n or 1
    if choices > most:
        raise InvalidRequest(f"n: at most {most} choices may be asked for", param="n")
    return choices


def _has_picture(message: Any) -> bool:
    content = message.get("content") if isinstance(message, dict) else None
    parts = content if isinstance(content, list) else []
    return any(isinstance(part, dict) and part.get("type") in _PICTURES for part in parts)


def _stops(stop: Any) -> tuple[str, ...]:
    words = stop if isinstance(stop, list) else [stop]
    return tuple(word for word in words if isinstance(word, str))


def _tokens(body: Json) -> int:
    for name in ("max_completion_tokens", "max_tokens"):
        if type(body.get(name)) is int and body[name] > 0:
            return int(body[name])
    return 0


def _is_deep(fields: Json, raw: bytes) -> bool:
    if raw.count(b"[") + raw.count(b"{") <= MOST_LEVELS:
        return False  # as nearly always, and without a look at every value
    level: list[Any] = [fields]
    for _ in range(MOST_LEVELS):
        parts = chain.from_iterable(one.values() if isinstance(one, dict) else one for one in level)
        level = [part for part in parts if isinstance(part, (dict, list))]
    return bool(level)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
