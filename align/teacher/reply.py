"""What comes of asking: a reply, or the reason why there is none.

    TeacherError
    + TeacherRejects        this request will never succeed; the row is dropped
    + TeacherUnavailable    transient errors outlasted the retries; the row may be asked again later

Reads the bodies that servers send, tolerantly where nothing depends on it.
"""

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from align.records import Usage


class TeacherError(Exception):
    """A request that got no reply."""


class TeacherRejects(TeacherError):
    """The server will never answer this request."""


class TeacherUnavailable(TeacherError):
    """The server did not answer this time."""


class UnreadableBody(Exception):
    """A body that is no chat completion."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model wrote; the text may be empty."""

    text: str
    finish_reason: str
    usage: Usage | None
    """None where the server did not say."""
    refusal: str | None = None
    """OpenAI's `message.refusal`: the model, or a filter around it, would not take part."""


class Fault(BaseModel):
    """A server's own words on what went wrong."""

    message: str = "no reason given"
    code: str | int | None = None


class _ErrorBody(BaseModel):
    error: Fault = Fault()


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Completion(BaseModel):
    """The part of OpenAI's body that is read; servers add fields of their own."""

    choices: list[_Choice] = Field(min_length=1)
    usage: Any = None


def read_reply(content: bytes) -> Reply:
    """The reply in the body of a 200; UnreadableBody where there is none."""
    try:
        completion = _Completion.model_validate_json(content)
    except ValidationError:
        raise UnreadableBody("the reply is not a chat completion in JSON") from None
    choice = completion.choices[0]
    return Reply(
        choice.message.content or "",
        choice.finish_reason or "unknown",
        _usage(completion.usage),
        choice.message.refusal,
    )


def _usage(found: Any) -> Usage | None:
    try:
        return Usage(**{name: found[name] for name in Usage.model_fields})
    except (KeyError, TypeError, ValidationError):
        return None


def read_fault(content: bytes) -> Fault:
    """What the body of an error says."""
    try:
        return _ErrorBody.model_validate_json(content).error
    except ValidationError:
        return Fault()
