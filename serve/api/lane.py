"""The express lane: the two paths that carry replies are answered without the framework.

A dictionary in place of its routing, validation and response classes, which cost more than the rest of a
request. Knows nothing of what the endpoints do.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from serve.errors import MethodNotAllowed


@dataclass(frozen=True, slots=True)
class LanePath:
    """What the log line reads of a route: only a path that is ours is written there."""

    path: str


class Lane:
    """Pure ASGI: `endpoints` by method and path first, everything else by `app`."""

    def __init__(self, app: ASGIApp, endpoints: Mapping[tuple[str, str], ASGIApp]) -> None:
        self._app = app
        self._endpoints = dict(endpoints)
        self._paths = {path: LanePath(path) for _, path in endpoints}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        known = self._paths.get(scope["path"]) if scope["type"] == "http" else None
        if known is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = known
        endpoint = self._endpoints.get((scope["method"], known.path))
        if endpoint is None:
            methods = sorted(method for method, path in self._endpoints if path == known.path)
            raise MethodNotAllowed(", ".join(methods))
        await endpoint(scope, receive, send)
