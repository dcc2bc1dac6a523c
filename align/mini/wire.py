"""Faults of the wire: what a busy server does to requests that it could answer.

Seeded by the request and by how often it came, so that asking again helps: the third attempt always gets
through. Knows nothing of what is asked.
"""

import hashlib
from collections import Counter
from enum import Enum, auto

from aiohttp import web

from align.mini.noise import Noise, dice

MOST_FAULTS = 2
"""For one request, however high the rates."""


class Fault(Enum):
    """What happens instead of an answer."""

    TOO_MANY_REQUESTS = auto()
    """429 with a Retry-After of less than a tenth of a second: each one holds up the whole endpoint."""
    SERVER_ERROR = auto()
    CUT_CONNECTION = auto()
    """Half the body, then nothing, although the header promised all of it."""
    HALF_BODY = auto()
    """Half the body as if it were all, with status 200."""


class Wire:
    """Which request meets which fault."""

    def __init__(self, noise: Noise) -> None:
        self._shares = {
            Fault.TOO_MANY_REQUESTS: noise.too_many_requests,
            Fault.SERVER_ERROR: noise.server_error,
            Fault.CUT_CONNECTION: noise.cut_connection,
            Fault.HALF_BODY: noise.half_body,
        }
        self._attempts: Counter[bytes] = Counter()

    def fault(self, body: bytes) -> Fault | None:
        """What this request meets this time."""
        if not any(self._shares.values()):
            return None
        key = hashlib.sha256(body).digest()
        attempt = self._attempts[key]
        self._attempts[key] += 1
        chance = dice("wire", key.hex(), attempt).random()
        for fault, share in self._shares.items():
            if chance < share and attempt < MOST_FAULTS:
                return fault
            chance -= share
        return None


async def broken(fault: Fault, body: bytes, request: web.Request) -> web.StreamResponse:
    """The answer with this body as the fault leaves it."""
    match fault:
        case Fault.TOO_MANY_REQUESTS:
            wait = f"{dice('wait', body).random() / 10:.3f}"
            return error(
                "too many requests, wait a little", 429, "rate_limit_exceeded", {"Retry-After": wait}
            )
        case Fault.SERVER_ERROR:
            return error("the server had an error", 500, "server_error")
        case Fault.HALF_BODY:
            return web.Response(body=body[: len(body) // 2], content_type="application/json")
        case Fault.CUT_CONNECTION:
            return await _cut(body, request)


def error(message: str, status: int, code: str, headers: dict[str, str] | None = None) -> web.Response:
    """An error in OpenAI's form."""
    kind = "invalid_request_error" if status < 429 else code
    fault = {"message": message, "type": kind, "param": None, "code": code}
    return web.json_response({"error": fault}, status=status, headers=headers)


async def _cut(body: bytes, request: web.Request) -> web.StreamResponse:
    headers = {"Content-Length": str(len(body)), "Content-Type": "application/json"}
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    if request.transport:
        request.transport.close()  # flushes first, so the half arrives
    return response
