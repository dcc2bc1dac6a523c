"""What every supervisor of an engine offers: one coroutine that keeps its replica true."""

from collections.abc import Awaitable, Callable
from typing import Protocol

OnUp = Callable[[], Awaitable[None]]
"""Called whenever an engine became healthy, before it is offered to callers: loads the adapters."""


class EngineStartError(Exception):
    """The engine cannot serve; the message says why, with the last lines of its log if there is one."""


class Supervisor(Protocol):
    """Keeps one engine going and its replica true until it is cancelled."""

    async def run(self, on_up: OnUp) -> None:
        """Supervise until cancelled; raises EngineStartError if the very first start fails."""
