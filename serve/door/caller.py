"""Who is asking, and what they may."""

from dataclasses import dataclass
from enum import StrEnum
from typing import cast

from starlette.types import Scope as AsgiScope

from serve.gate.values import Mode

_STATE = "caller"


class Scope(StrEnum):
    """A part of the API that a key opens."""

    CHAT = "chat"
    RESPONSES = "responses"
    MODERATIONS = "moderations"
    GUARD = "guard"
    TOKENIZE = "tokenize"


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a key may use; None: no limit of its own."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    in_flight: int | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """One key's holder."""

    key_id: str
    """`k_` and eight hexadecimal digits of the key's digest."""
    name: str
    scopes: frozenset[Scope] = frozenset(Scope)
    models: frozenset[str] | None = None
    """Aliases; None: every one."""
    allowance: Allowance = Allowance()
    mode: Mode | None = None
    """None: the gateway's."""
    expires_at: float | None = None
    """Unix time."""


ANONYMOUS = Caller("anonymous", "anonymous")
"""Whoever asks a gateway without keys, which listens on the machine's own interface only."""


def caller_of(scope: AsgiScope) -> Caller:
    """Who asked this request."""
    return cast(Caller, scope["state"].get(_STATE, ANONYMOUS))


def note_caller(scope: AsgiScope, caller: Caller) -> None:
    """For the door, once it knows."""
    scope.setdefault("state", {})[_STATE] = caller
