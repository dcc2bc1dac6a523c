"""What a streamed reply consists of, in the order in which it arrives.

Reasoning and its steps, then the verdict once, then the answer, and the whole reply at the end.
"""

from dataclasses import dataclass
from typing import TypeAlias

from groundrule.reply import Reply
from groundrule.safety import Step, Verdict


@dataclass(frozen=True, slots=True)
class ReasoningText:
    """Raw reasoning, tags and all, as the model writes it."""

    text: str


@dataclass(frozen=True, slots=True)
class StepRead:
    """A step of the reasoning is complete."""

    step: Step


@dataclass(frozen=True, slots=True)
class VerdictRead:
    """The reasoning is over; None: the model gave no verdict."""

    verdict: Verdict | None


@dataclass(frozen=True, slots=True)
class AnswerText:
    """A piece of the answer, or of the refusal that the gateway put in its place."""

    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of a stream."""

    reply: Reply


Event: TypeAlias = ReasoningText | StepRead | VerdictRead | AnswerText | Finished
