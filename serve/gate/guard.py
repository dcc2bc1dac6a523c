"""What every guard is, whatever it looks with. Values and protocols only."""

from typing import Protocol

from serve.gate.values import Conversation, Excerpt, Ruling, Stage


class GuardRefused(Exception):
    """A guard that must not be used: stops the start, and says what to change."""


class GuardFailed(Exception):
    """It could not judge; the message holds neither the text nor its own words."""

    def __init__(self, message: str, *, is_gone: bool = False) -> None:
        """`is_gone`: it did not answer at all, so that asking again at once is useless."""
        super().__init__(message)
        self.is_gone = is_gone


class Guard(Protocol):
    """One that has to be waited for."""

    name: str
    stages: frozenset[Stage]

    async def judge(self, excerpt: Excerpt, about: Conversation) -> Ruling:
        """Raises GuardFailed."""
