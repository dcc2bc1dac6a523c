"""Bearer keys: everything below /v1/ needs one, once there are any."""

import hashlib
import hmac
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.errors import Unauthenticated
from serve.observe.requests import record_of

_GUARDED = "/v1/"


class RequireKey:
    """Pure ASGI: refuses callers without one of the keys, whose SHA-256 digests it is given."""

    def __init__(self, app: ASGIApp, key_digests: Sequence[bytes]) -> None:
        self._app = app
        self._key_digests = tuple(key_digests)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._key_digests and scope["type"] == "http" and scope["path"].startswith(_GUARDED):
            digest = self._check(Headers(scope=scope).get("authorization", ""))
            record_of(scope).fields["caller"] = digest.hex()[:8]
        await self._app(scope, receive, send)

    def _check(self, authorization: str) -> bytes:
        scheme, _, key = authorization.partition(" ")
        presented = hashlib.sha256(key.strip().encode()).digest()
        # All of them, always: the time taken says nothing about which key came close.
        matches = [hmac.compare_digest(presented, known) for known in self._key_digests]
        if scheme.lower() != "bearer" or not any(matches):
            raise Unauthenticated("give a valid key: Authorization: Bearer <key>")
        return presented
