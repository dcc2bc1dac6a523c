"""Who is asking, and may they ask this: every path needs a key, but those for machines that look after us.

Knows nothing of how keys are kept (`serve.door.keys`) or of how much one may ask (`serve.door.limits`).
"""

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType

from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from serve.door.caller import ANONYMOUS, Caller, Scope, note_caller
from serve.door.keys import KeyRing, digest_of
from serve.errors import Forbidden, Overloaded, Unauthenticated
from serve.observe.requests import record_of

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/metrics", "/openapi.json"})
"""Asked without a key. Any other path needs one, also one that does not exist or is yet to come."""
SCOPES: Mapping[str, Scope] = MappingProxyType({
    "/v1/chat/completions": Scope.CHAT,
    "/v1/responses": Scope.RESPONSES,
    "/v1/moderations": Scope.MODERATIONS,
    "/beta/litellm_basic_guardrail_api": Scope.GUARD,
    "/tokenize": Scope.TOKENIZE,
    "/v1/tokenize": Scope.TOKENIZE,
})  # fmt: skip
"""What a key must open for a path; a path that is not here is open to every key."""


class RequireKey:
    """Pure ASGI: raises Unauthenticated or Forbidden, else notes the caller for those further in."""

    def __init__(
        self,
        app: ASGIApp,
        ring: KeyRing,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`now`: Unix time, by which keys expire."""
        self._app = app
        self._ring = ring
        self._now = now

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            caller = ANONYMOUS if self._ring.is_open else self._identify(scope)
            note_caller(scope, caller)
            record_of(scope).fields["caller"] = caller.key_id
            needed = SCOPES.get(scope["path"])
            if needed is not None and needed not in caller.scopes:
                raise Forbidden(f"this key does not open {needed.value}; ask for one that does")
        await self._app(scope, receive, send)

    def _identify(self, scope: AsgiScope) -> Caller:
        name, _, key = _authorization(scope).partition(" ")
        caller = self._ring.find(digest_of(key.strip())) if name.lower() == "bearer" else None
        if caller is None and not self._ring.is_complete:
            # The key may well be one of the table, which nobody could read yet.
            raise Overloaded("the gateway's keys cannot be read at the moment; try again")
        if caller is None:
            raise Unauthenticated("give a valid key: Authorization: Bearer <key>")
        if caller.expires_at is not None and self._now() >= caller.expires_at:
            raise Unauthenticated("this key has expired; ask for a new one")
        return caller


def _authorization(scope: AsgiScope) -> str:
    """The header's value; empty where it is missing, or there twice: which of two would be meant?"""
    values: list[bytes] = [value for name, value in scope["headers"] if name == b"authorization"]
    return values[0].decode("latin-1") if len(values) == 1 else ""
