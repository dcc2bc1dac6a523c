"""What an evaluated model said: its reasoning, its answer, and the steps and verdict in them.

A reply comes from the harness in one of two shapes: with the reasoning apart, as a gateway sends it or as
the harness cuts it out of `<think>`, or raw in the format of its base. Both become the same `Reply`. Knows
nothing of tasks and of judges.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING

from policies.catalog import load_catalog
from policies.formats import FORMATS, ReasoningFormat
from policies.reply import Clauses, Trace
from policies.trace import read

if TYPE_CHECKING:
    from inspect_ai.model import ContentReasoning, ModelOutput


class View(StrEnum):
    """What of a reply is looked at."""

    REASONING = "reasoning"
    ANSWER = "answer"
    WHOLE = "whole"


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply, read."""

    reasoning: str
    """Without the format's tags; empty where the model did not reason."""
    answer: str | None
    """None where there is no answer, most often because the reply was cut off in its reasoning."""
    trace: Trace

    def view(self, view: View) -> str:
        """The text of a view; empty where there is none."""
        match view:
            case View.REASONING:
                return self.reasoning
            case View.ANSWER:
                return self.answer or ""
            case View.WHOLE:
                return "\n\n".join(filter(None, (self.reasoning, self.answer)))


def reply_of(output: "ModelOutput", form: ReasoningFormat, clauses: Clauses | None = None) -> Reply:
    """Read a model's output; one without text, an error's, or none at all, is a reply without an answer.

    `clauses` are those that the reply may cite; None stands for those of the packaged policies.
    """
    citable = packaged_clauses() if clauses is None else clauses
    trace = read(_raw(output, form), form, citable)
    return Reply(trace.reasoning, trace.answer or None, trace)


def is_error(output: "ModelOutput") -> bool:
    """Whether the harness wrote an HTTP error's text where a reply would be.

    It does so where an endpoint says that the question is too long for the model, or that its content is
    refused. What a gateway says in place of a withheld answer is a reply: it comes as a refusal, and with
    the tokens that it took.
    """
    if output.empty or output.stop_reason not in ("model_length", "content_filter"):
        return False
    return output.usage is None and isinstance(output.message.content, str)


def format_named(name: str) -> ReasoningFormat:
    """The reasoning format of a name; a ValueError lists those that there are."""
    if name not in FORMATS:
        raise ValueError(f"reasoning_format {name!r} is unknown: one of {', '.join(FORMATS)}")
    return FORMATS[name]


@cache
def packaged_clauses() -> Clauses:
    """Every clause of the packaged policies."""
    return load_catalog().citable


def _raw(output: "ModelOutput", form: ReasoningFormat) -> str:
    """The reply as the model wrote it, as far as that can be told."""
    if output.empty or is_error(output):
        return ""
    content = output.message.content
    if isinstance(content, str):
        return content
    text = "".join(part.text for part in content if part.type == "text")
    apart = [part for part in content if part.type == "reasoning"]
    if not apart:
        return text
    reasoning = _readable(apart)
    if _is_all_reasoning(text, reasoning, form):
        return text
    section = form.reasoning[-1]
    return f"{section.opening}\n{reasoning}\n{section.closing}\n{text}"


def _readable(parts: "Sequence[ContentReasoning]") -> str:
    """Some providers withhold the reasoning and give a summary in its place."""
    texts = (part.summary or "" if part.redacted else part.reasoning for part in parts)
    return "\n".join(filter(None, texts))


def _is_all_reasoning(text: str, reasoning: str, form: ReasoningFormat) -> bool:
    """Whether the text is the raw reply once more, as the harness leaves it where no answer follows."""
    again = read(text, form, {})
    return not again.answer and again.reasoning == reasoning.strip()
