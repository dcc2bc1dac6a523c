"""The client: one question with at most one picture in, a reply with its safety object out.

Errors of the `openai` package are left as they are; only what that package cannot know has a class here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

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
_PARTING = "\n\n"

Mode = Literal["observe", "enforce", "stricter"]
"""How a reply is handled; a request may ask for more than its key demands, never for less."""
TraceShown = Literal["full", "steps", "none"]
"""How much of the reasoning a reply tells."""
PoliciesInContext = Literal["auto", "categorised"] | Sequence[str]
"""Ids or slugs; or the names of all, of which the model finds the one that applies (`auto`); or the one that
the gateway finds by an extra call (`categorised`)."""


class NotGroundruleError(Exception):
    """The endpoint answered without a `safety` object: it is some other OpenAI-compatible server."""


class TruncatedStreamError(Exception):
    """The connection ended before the reply did; what had arrived is not to be relied on."""


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
        mode: Mode | None = None,
        trace: TraceShown = "full",
        policies: PoliciesInContext | None = None,
        **options: Any,
    ) -> Reply:
        """Ask and wait for the whole reply; `options` go to `chat.completions.create`.

        `strict` lets the engine write nothing but a well-formed trace that cites existing clauses; `mode`
        asks for stricter handling than the key's; `trace` says how much of the reasoning is told; `policies`
        are put into the model's context.
        """
        safety = _safety_options(strict, mode, trace, policies)
        completion = self.openai.chat.completions.create(
            model=model, messages=_messages(text, image), stream=False, **_bound(options, safety)
        )
        choice = completion.choices[0]
        extra = choice.message.model_extra or {}
        refusal = choice.message.refusal
        return Reply(
            answer=_told(choice.message.content or "", refusal or ""),
            refusal=refusal,
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
        mode: Mode | None = None,
        trace: TraceShown = "full",
        policies: PoliciesInContext | None = None,
        **options: Any,
    ) -> Iterator[Event]:
        """Ask, as `ask` does, and yield the reply as it is written; closing the iterator ends it."""
        chunks = self.openai.chat.completions.create(
            model=model,
            messages=_messages(text, image),
            stream=True,
            stream_options={"include_usage": True},
            **_bound(options, _safety_options(strict, mode, trace, policies)),
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
        self._refusal: list[str] = []
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
            if delta.content:
                self._answer.append(delta.content)
                yield AnswerText(delta.content)
            if delta.refusal:
                # Behind half an answer, the gateway's sentence is a paragraph of its own.
                parting = _PARTING if self._answer and not self._refusal else ""
                self._refusal.append(delta.refusal)
                yield AnswerText(parting + delta.refusal)
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
            answer=_told("".join(self._answer), "".join(self._refusal)),
            refusal="".join(self._refusal) or None,
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


def _told(answer: str, refusal: str) -> str:
    return _PARTING.join(filter(None, (answer, refusal)))


def _safety_options(
    strict: bool, mode: Mode | None, trace: TraceShown, policies: PoliciesInContext | None
) -> dict[str, Any]:
    """What differs from the gateway's defaults; without it a request is plain OpenAI's."""
    asked: dict[str, Any] = {}
    if strict:
        asked["strict"] = True
    if mode is not None:
        asked["mode"] = mode
    if trace != "full":
        asked["trace"] = trace
    if policies is not None:
        asked["policy_in_context"] = policies if isinstance(policies, str) else list(policies)
    return asked


def _bound(options: dict[str, Any], safety: dict[str, Any]) -> dict[str, Any]:
    """The options, with ours beside whatever else the caller put into the body."""
    if not safety:
        return options
    body = dict(options.get("extra_body") or {})
    return {**options, "extra_body": {**body, "safety": {**(body.get("safety") or {}), **safety}}}


def _safety(value: object) -> Safety:
    if value is None:
        raise NotGroundruleError("the reply has no `safety` object: is base_url a Groundrule gateway's?")
    return Safety.model_validate(value)
