"""Failures as callers meet them: read off the tree of `serve.errors`, so that no code can be missing here."""

from collections.abc import Iterable, Mapping
from typing import Final

from serve.api.shapes.schema import STRING, Json, closed, only, or_null, ref, told
from serve.errors import TOO_LONG, EngineRejected, HeadTooLarge, every_code, every_kind

_MEANINGS: Final[Mapping[int, str]] = {
    400: "The request cannot be answered as it is; `param` names what to change.",
    401: "No key, or not one of ours.",
    403: "The key does not open this part of the API.",
    404: "No such model, or none that this key may use.",
    408: "The body took too long.",
    413: "The body is larger than this gateway reads, or than the engine takes.",
    415: "The body is neither plain nor compressed by gzip or deflate.",
    422: "The engine refused the request.",
    429: "The key, or the engine, has done what it may for now.",
    431: "The headers are larger than this gateway reads.",
    500: "A bug of ours; the request id finds it in the log.",
    503: "Not now: overloaded, stopping, or without an engine.",
    504: "The engine fell silent.",
}
_ENGINES: Final = (400, 413, 422, 429)
"""Statuses with which an engine refuses what a caller can mend; they are passed on."""

ASKED: Final = (400, 401, 403, 404, 408, 413, 415, 422, 429, 431, 500, 503, 504)
"""Of an operation that asks an engine."""
LOOKED_UP: Final = (400, 401, 404, 413, 415, 429, 431, 500, 503)
"""Of one that only says what there is, behind the door."""
OPEN: Final = (400, 413, 415, 431, 500)
"""Of one without a key."""


def _codes(status: int) -> list[str]:
    codes = {error.code for error in every_kind() if error.status == status}
    if status in _ENGINES:
        codes |= {EngineRejected.code, TOO_LONG}
    return sorted(codes)


SCHEMAS: Final[Mapping[str, Json]] = {
    "Error": closed(
        {
            "error": closed(
                {
                    "message": told(STRING, "What the caller can do; never holds prompt text."),
                    "type": told(only(*sorted({error.type for error in every_kind()})), "The family."),
                    "param": told(or_null(STRING), "The parameter that is wrong, where it is one."),
                    "code": told(only(*every_code()), "The failure, for programs."),
                }
            )
        },
        description="Every failure: as a body before the first byte of a reply, as its last event after it.",
        examples=[
            {
                "error": {
                    "message": "n: at most 4 choices may be asked for",
                    "type": "invalid_request_error",
                    "param": "n",
                    "code": "invalid_request",
                }
            }
        ],
    )
}
HEADERS: Final[Mapping[str, Json]] = {
    "RequestId": {
        "description": "The caller's own `x-request-id` where it had one, else a new one.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
    },
    "RetryAfter": {"description": "Seconds, where it is known.", "schema": {"type": "integer", "minimum": 1}},
    "Challenge": {"description": "RFC 9110.", "required": True, "schema": {"const": "Bearer"}},
}


def header(name: str) -> Json:
    """One of `HEADERS`."""
    return {"$ref": f"#/components/headers/{name}"}


def responses(statuses: Iterable[int]) -> Json:
    """An operation's failures, by status."""
    return {str(status): _response(status) for status in statuses}


def _response(status: int) -> Json:
    # Of a request whose head was not read, nobody knows the id.
    headers = {} if status == HeadTooLarge.status else {"x-request-id": header("RequestId")}
    if status == 401:
        headers["www-authenticate"] = header("Challenge")
    if status in (429, 503):
        headers["retry-after"] = header("RetryAfter")
    codes = ", ".join(f"`{code}`" for code in _codes(status))
    return {
        "description": f"{_MEANINGS[status]} Codes: {codes}.",
        "headers": headers,
        "content": {"application/json": {"schema": ref("Error")}},
    }
