"""One answered question, as it is read from what the SDK received."""

from dataclasses import dataclass
from typing import Annotated

from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion
from pydantic import BaseModel, Field

from groundrule.safety import Action, Safety, Verdict

PARTING = "\n\n"
"""Between half an answer and the gateway's sentence, which is a paragraph of its own."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answered question."""

    answer: str
    """What the user may see; where the gateway held something back, its sentence stands at the end."""
    reasoning: str
    safety: Safety
    finish_reason: str
    """`content_filter` where the gateway held something back."""
    refusal: str | None
    """The gateway's sentence in place of what it held back."""
    usage: CompletionUsage | None
    raw: ChatCompletion
    """The SDK's own object, id, model and tool calls included; a stream's is put together from its pieces."""

    @property
    def verdict(self) -> Verdict | None:
        """What the model decided; None: it did not say, which is not the same as `comply`."""
        return self.safety.verdict

    @property
    def action(self) -> Action:
        """What the gateway did."""
        return self.safety.action


def read_reply(completion: ChatCompletion) -> Reply:
    """The reply of a completion; a ValidationError where the SDK let something pass that is none."""
    choice = _Completion.model_validate(completion, from_attributes=True).choices[0]
    message = choice.message
    return Reply(
        answer=PARTING.join(filter(None, (message.content, message.refusal))),
        reasoning=message.reasoning or "",
        safety=message.safety,
        finish_reason=choice.finish_reason,
        refusal=message.refusal,
        usage=completion.usage,
        raw=completion,
    )


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None
    reasoning: str | None = None
    safety: Safety


class _Choice(BaseModel):
    message: _Message
    finish_reason: str


class _Completion(BaseModel):
    choices: Annotated[tuple[_Choice, ...], Field(min_length=1)]
