"""What the gateway needs to know of a chat request. Everything else is the engine's, and passed on."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, ValidationError, model_validator

from serve.errors import InvalidRequest
from serve.gate.values import TraceShown

Json = dict[str, Any]


class StreamOptions(BaseModel):
    """`stream_options`."""

    model_config = ConfigDict(extra="allow", frozen=True)

    include_usage: StrictBool | None = None


class SafetyOptions(BaseModel):
    """`safety`: what a caller may ask of the trace."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    strict: StrictBool = False
    """Let the engine write nothing but a well-formed trace that cites existing clauses."""
    policies: list[str] | None = Field(default=None, min_length=1)
    """With `strict`: ids or slugs of the only policies that may be cited; None: all of them."""
    trace: TraceShown = "full"
    """How much of the trace the reply shows; all of it is scanned."""
    mode: Literal["observe", "enforce", "stricter"] | None = None
    """Stricter handling than the key demands; None: the key's."""
    policy_in_context: Literal["auto", "categorised"] | Annotated[list[str], Field(min_length=1)] | None = (
        None
    )
    """Policies for the model to read before it reasons: ids or slugs, all of them in brief (`auto`), or the
    one that an extra call to the base model finds (`categorised`)."""

    @model_validator(mode="after")
    def _policies_go_with_strict(self) -> Self:
        if self.policies is not None and not self.strict:
            raise ValueError("policies has no effect without strict: set strict to true")
        return self


class ChatRequest(BaseModel):
    """`POST /v1/chat/completions`, as far as the gateway reads it."""

    model_config = ConfigDict(extra="allow", frozen=True)

    model: str | None = None
    """None: the default alias."""
    messages: list[Any] = Field(min_length=1)
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    n: StrictInt | None = Field(default=None, ge=1)
    safety: SafetyOptions | None = None

    @property
    def wants_usage(self) -> bool:
        """Whether a stream is to end with a usage chunk."""
        return bool(self.stream_options and self.stream_options.include_usage)


def parse_chat(body: Json) -> ChatRequest:
    """Check what the gateway reads; raises InvalidRequest that names the parameter."""
    try:
        asked = ChatRequest.model_validate(body)
    except ValidationError as error:
        mistake = error.errors(include_input=False, include_url=False)[0]
        param = ".".join(str(part) for part in mistake["loc"])
        raise InvalidRequest(f"{param}: {mistake['msg']}", param=param) from error
    return asked
