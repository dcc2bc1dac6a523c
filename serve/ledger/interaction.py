"""One audit row: who asked what version for what, and what became of it. Values only."""

from dataclasses import dataclass
from typing import Any, Literal, Protocol

Json = dict[str, Any]
Api = Literal["chat", "responses", "moderations", "guardrail"]


@dataclass(frozen=True, slots=True)
class Scanned:
    """Characters of one channel, counted by the gate itself."""

    generated: int
    examined: int
    released: int


@dataclass(frozen=True, slots=True)
class GuardRun:
    """One guard on one stage, over the whole request."""

    guard: str
    stage: str
    status: Literal["passed", "blocked", "failed", "late", "not_run"]
    excerpts: int
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class ChoiceRecord:
    """One choice."""

    verdict: str | None
    action: str
    would: str | None
    """While observing: the action that enforcing would have taken."""
    finish: str | None
    clauses: tuple[str, ...]
    sources: dict[str, int]
    flags: tuple[str, ...]
    objections: tuple[str, ...]
    """Names of the built-in checks that objected."""
    scanned: dict[str, Scanned]
    """By channel: reasoning, answer."""


@dataclass(frozen=True, slots=True)
class Content:
    """What was said; kept only if the operator turned it on, and only for so many days."""

    messages: Json
    """The request's messages, pictures as digests."""
    replies: tuple[str, ...]
    """What was delivered, by choice."""


@dataclass(frozen=True, slots=True)
class Interaction:
    """One request, answered or not."""

    id: str
    at: float
    """Unix time at which it arrived."""
    request_id: str
    key_id: str
    api: Api
    alias: str
    adapter: str | None
    policy_digest: str
    mode: str
    stream: bool
    status: int
    """HTTP status; 499 for a caller who left before there was one."""
    outcome: str
    """ok, aborted, or an error's code."""
    choices: tuple[ChoiceRecord, ...]
    guards: tuple[GuardRun, ...]
    prompt_tokens: int | None
    completion_tokens: int | None
    reasoning_tokens: int | None
    tokens_counted_by: Literal["engine", "gateway"] | None
    first_token_s: float | None
    duration_s: float
    queued_s: float
    overhead_s: float
    """What the gateway itself took: neither waiting for the engine nor for guards."""
    request_digest: str
    """SHA-256 of the body as it came."""
    picture_digests: tuple[str, ...]
    reply_digest: str
    """SHA-256 of what was delivered."""
    content: Content | None = None


class Ledger(Protocol):
    """Where rows go."""

    def write(self, interaction: Interaction) -> None:
        """No longer than one write to the page cache. Never raises: what fails is counted and logged."""

    def check_room(self) -> None:
        """Raises LedgerFull where a row could not be kept and no request may go without one."""


@dataclass(frozen=True, slots=True)
class NoLedger:
    """The operator turned the audit off."""

    def write(self, interaction: Interaction) -> None:
        """Nothing is kept."""

    def check_room(self) -> None:
        """There is always room."""
