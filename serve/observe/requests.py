"""A request's id and its one log line: outermost, so that every answer has both.

The line holds names, numbers and codes; never a prompt, a reply, a picture, a key or a query string.
"""

import logging
import re
import time
import uuid
from dataclasses import dataclass, field
from typing import Any, cast

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

REQUEST_ID_HEADER = "x-request-id"
_WELL_FORMED_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_RECORD = "record"
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class RequestRecord:
    """What the log line will say; whoever learns something adds it to `fields`."""

    request_id: str
    started: float = field(default_factory=time.perf_counter)
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the request arrived."""
        return time.perf_counter() - self.started


class RequestLog:
    """Pure ASGI: takes or makes the request id, echoes it, writes the line when the answer is over."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = RequestRecord(_request_id(scope))
        scope.setdefault("state", {})[_RECORD] = record
        # Until a status line is sent: the caller left (nginx's 499), or a bug of ours, which is logged.
        status = 499

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = record.request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            status = 500
            raise
        finally:
            _write(scope, record, status)


def record_of(scope: Scope) -> RequestRecord:
    """The record of this request."""
    return cast(RequestRecord, scope["state"][_RECORD])


def request_id_of(scope: Scope) -> str:
    """The id under which this request is logged."""
    return record_of(scope).request_id


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == REQUEST_ID_HEADER.encode() and _WELL_FORMED_ID.fullmatch(value):
            return cast(bytes, value).decode()
    return uuid.uuid4().hex


def _write(scope: Scope, record: RequestRecord, status: int) -> None:
    # An unknown path is the caller's text; only paths that are ours are logged.
    route = scope.get("route")
    fields = {
        "request_id": record.request_id,
        "method": scope["method"],
        "path": getattr(route, "path", None),
        "status": status,
        "duration_s": round(record.elapsed_s, 4),
        **record.fields,
    }
    _log.info("request", extra={"fields": fields})
