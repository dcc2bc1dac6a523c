"""A request as it was understood, without its messages: they hold pictures, and a reply takes minutes."""

from dataclasses import dataclass

from serve.adapters.registry import Route
from serve.api.schemas import SafetyOptions
from serve.door.caller import Caller
from serve.gate.values import Handling
from serve.ledger.interaction import Api


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asks whom for what, and how the reply is to be handled."""

    api: Api
    caller: Caller
    route: Route
    handling: Handling
    options: SafetyOptions
    choices: int
    stream: bool
    wants_usage: bool
    stops: tuple[str, ...]
    """The caller's own stop words."""
    tokens: int
    """The most that the reply may take, where the caller said so; else 0."""
    digest: str
    """SHA-256 of the body."""
