"""What those who keep an engine's replica true have in common."""

from collections.abc import Awaitable, Callable

OnUp = Callable[[], Awaitable[None]]
"""Called whenever an engine became healthy, before it is offered to callers: loads the adapters."""


class EngineStartError(Exception):
    """The engine cannot serve; the message says why, with the last lines of its log if there is one."""
