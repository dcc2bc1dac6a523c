"""What the API asks of engines, however many there are and whichever kind."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from serve.adapters.registry import Route
from serve.options.engine import EngineKind

Json = dict[str, Any]
Batch: TypeAlias = list[Json]
"""Every chunk of one network read, in order."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request to an engine."""

    route: Route
    payload: Json
    """As for OpenAI, without `model`, `stream` and `stream_options`, which the pool fills in."""
    whole: bool
    """One body instead of a stream: for callers who get a plain answer anyway."""
    request_id: str
    affinity: bytes
    """Equal for equal beginnings of a conversation: the same replica has their prefix in its cache."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether requests can be answered; names pools and never hosts."""

    is_ready: bool
    reason: str
    pools: Mapping[str, str]
    """State by pool."""


class Engines(Protocol):
    """Every engine behind one door."""

    def stream_chat(self, call: Call) -> AbstractAsyncContextManager[AsyncIterator[Batch]]:
        """Entering returns once the first batch is there, or raises what can still be a status.

        Leaving the context ends the generation. EngineUnavailable, EngineTimeout, EngineRejected,
        EngineFailed.
        """

    async def tokenize(self, route: Route, body: Json, request_id: str) -> Json:
        """The engine's own answer."""

    def kind_of(self, route: Route) -> EngineKind:
        """Which kind of engine answers this alias."""

    def readiness(self) -> Readiness:
        """Of everything that an alias points to."""
