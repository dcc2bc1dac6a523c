"""The client: one question with at most one picture in, a reply with its safety object out.

Errors of the `openai` package are left as they are; only what that package cannot know has a class here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from openai import OpenAI, Stream
from openai.types import CompletionUsage
from openai.types.chat import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionContentPartParam,
    ChatCompletionMessageParam,
)

from groundrule.events import AnswerText, Event, Finished, ReasoningText, StepRead, VerdictRead
from groundrule.pictures import Picture, data_url
from groundrule.safety import Action, Safety, Step, Verdict

DEFAULT_URL = "http://127.0.0.1:8000/v1"
DEFAULT_MODEL = "groundrule"


class NotGroundruleError(Exception):
    """The endpoint answered without a `safety` object: it is some other OpenAI-compatible server."""


class TruncatedStreamError(Exception):
    """The connection ended before the reply did; what had arrived is not to be relied on."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answered question."""

    answer: str
    """What the user may see; the refusal's text when the gateway withheld or replaced the answer."""
    reasoning: str
    safety: Safety
    finish_reason: str
    usage: CompletionUsage | None
    raw: ChatCompletion | None
    """The SDK's own object; None for a stream."""

    @property
    def verdict(self) -> Verdict | None:
        """What the model decided; None: it did not say, which is not the same as `comply`."""
        return self.safety.verdict

    @property
    def action(self) -> Action:
        """What the gateway did."""
        return self.safety.action


class Groundrule:
    """A Groundrule gateway."""

    def __init__(
        self, base_url: str = DEFAULT_URL, api_key: str | None = None, *, timeout_s: float = 300
    ) -> None:
        # The SDK insists on a key; a gateway without keys ignores it.
        self.openai = OpenAI(base_url=base_url, api_key=api_key or "none", timeout=timeout_s)
        """The SDK's own client, for whatever this layer does not cover."""

    def ask(
        self,
        text: str,
        image: Picture | None = None,
        model: str = DEFAULT_MODEL,
        *,
        strict: bool = False,
        **options: Any,
    ) -> Reply:
        """Ask and wait for the whole reply; `options` go to `chat.completions.create`.

        `strict` lets the engine write nothing but a well-formed trace that cites existing clauses.
        """
        completion = self.openai.chat.completions.create(
            model=model, messages=_messages(text, image), stream=False, **_bound(options, strict)
        )
        choice = completion.choices[0]
        extra = choice.message.model_extra or {}
        return Reply(
            answer=choice.message.content or choice.message.refusal or "",
            reasoning=extra.get("reasoning") or "",
            safety=_safety(extra.get("safety")),
            finish_reason=choice.finish_reason,
            usage=completion.usage,
            raw=completion,
        )

    def stream(
        self,
        text: str,
        image: Picture | None = None,
        model: str = DEFAULT_MODEL,
        *,
        strict: bool = False,
        **options: Any,
    ) -> Iterator[Event]:
        """Ask, as `ask` does, and yield the reply as it is written; closing the iterator ends it."""
        chunks = self.openai.chat.completions.create(
            model=model,
            messages=_messages(text, image),
            stream=True,
            stream_options={"include_usage": True},
            **_bound(options, strict),
        )
        return _Streamed().read(chunks)

    def models(self) -> list[str]:
        """Names that `model` may be."""
        return [model.id for model in self.openai.models.list()]

    def close(self) -> None:
        """Give back the connections."""
        self.openai.close()

    def __enter__(self) -> "Groundrule":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Streamed:
    """One streamed reply, put together while it is passed on."""

    def __init__(self) -> None:
        self._answer: list[str] = []
        self._reasoning: list[str] = []
        self._whole: object = None
        self._finish_reason: str | None = None
        self._usage: CompletionUsage | None = None

    def read(self, chunks: Stream[ChatCompletionChunk]) -> Iterator[Event]:
        with chunks:
            for chunk in chunks:
                self._usage = chunk.usage or self._usage
                yield from self._events(chunk)
        if self._finish_reason is None:
            raise TruncatedStreamError("the connection ended before the reply did; ask again")
        yield Finished(self._reply(self._finish_reason))

    def _events(self, chunk: ChatCompletionChunk) -> Iterator[Event]:
        for choice in chunk.choices:
            delta, extra = choice.delta, choice.delta.model_extra or {}
            if reasoning := extra.get("reasoning"):
                self._reasoning.append(reasoning)
                yield ReasoningText(reasoning)
            yield from self._safety_events(extra.get("safety") or {})
            if text := delta.content or delta.refusal:
                self._answer.append(text)
                yield AnswerText(text)
            self._finish_reason = choice.finish_reason or self._finish_reason

    def _safety_events(self, safety: dict[str, Any]) -> Iterator[Event]:
        if "action" in safety:
            self._whole = safety
        elif "step" in safety:
            yield StepRead(Step.model_validate(safety["step"]))
        elif "verdict" in safety:
            yield VerdictRead(safety["verdict"])

    def _reply(self, finish_reason: str) -> Reply:
        return Reply(
            answer="".join(self._answer),
            reasoning="".join(self._reasoning),
            safety=_safety(self._whole),
            finish_reason=finish_reason,
            usage=self._usage,
            raw=None,
        )


def _messages(text: str, image: Picture | None) -> list[ChatCompletionMessageParam]:
    parts: list[ChatCompletionContentPartParam] = []
    if image is not None:
        parts.append({"type": "image_url", "image_url": {"url": data_url(image)}})
    parts.append({"type": "text", "text": text})
    return [{"role": "user", "content": parts}]


def _bound(options: dict[str, Any], strict: bool) -> dict[str, Any]:
    """The options, with what asks for the strict mode beside whatever else the caller put into the body."""
    if not strict:
        return options
    body = dict(options.get("extra_body") or {})
    return {**options, "extra_body": {**body, "safety": {**(body.get("safety") or {}), "strict": True}}}


def _safety(value: object) -> Safety:
    if value is None:
        raise NotGroundruleError("the reply has no `safety` object: is base_url a Groundrule gateway's?")
    return Safety.model_validate(value)
