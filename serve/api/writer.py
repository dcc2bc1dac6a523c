"""What both APIs are to the exchange: something that spells what left the gate. Knows no engine."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from policies.reply import Trace
from serve.errors import GatewayError
from serve.gate.values import Action, Out

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Head:
    """What every chunk of a reply repeats."""

    id: str
    created: int
    """Unix time."""
    alias: str
    choices: int


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of one choice."""

    finish_reason: str
    action: Action
    safety: Json
    """The whole object, of what was delivered."""
    extras: Json
    """Of the choice: `logprobs`, `stop_reason`."""


@dataclass(frozen=True, slots=True)
class Finished:
    """One choice of a plain body: what was delivered, nothing else."""

    index: int
    trace: Trace
    tool_calls: tuple[Json, ...]
    refusal: str | None
    """The sentence that stands in for what was held back."""
    ending: Ending


class Writer(Protocol):
    """One reply in one API's words; bytes are events, ready to send, and may be empty."""

    def begin(self, head: Head) -> bytes:
        """Before anything else."""

    def write(self, index: int, outs: Sequence[Out]) -> bytes:
        """What left the gate of one choice."""

    def finish(self, index: int, ending: Ending) -> bytes:
        """The end of one choice."""

    def end(self, usage: Json | None) -> bytes:
        """The end of the reply."""

    def failed(self, error: GatewayError) -> bytes:
        """The last event of a reply that broke off."""

    def body(self, head: Head, choices: Sequence[Finished], usage: Json | None) -> Json:
        """The plain answer."""
