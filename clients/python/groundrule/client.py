"""The client: one question with at most one picture in, a reply with its safety object out."""

from collections.abc import Sequence
from typing import Any, Literal

from openai import DEFAULT_MAX_RETRIES, Timeout
from openai.types.chat import ChatCompletionContentPartParam, ChatCompletionMessageParam
from pydantic import BaseModel

from groundrule.errors import expecting_groundrule
from groundrule.pictures import Picture, picture_url
from groundrule.reply import Reply, read_reply
from groundrule.sdk import GatewaySdk
from groundrule.stream import Stream

DEFAULT_URL = "http://127.0.0.1:8000/v1"
DEFAULT_MODEL = "groundrule"
_CONNECT_S = 5.0

Mode = Literal["observe", "enforce", "stricter"]
"""How a reply is handled; a request may ask for more than its key demands, never for less."""
TraceShown = Literal["full", "steps", "none"]
"""How much of the reasoning a reply tells."""
PoliciesInContext = Literal["auto", "categorised"] | Sequence[str]
"""Ids or slugs; or the names of all, of which the model finds the one that applies (`auto`); or the one that
the gateway finds by an extra call (`categorised`)."""


class Groundrule:
    """A Groundrule gateway."""

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        api_key: str | None = None,
        *,
        timeout_s: float = 300,
        max_retries: int = DEFAULT_MAX_RETRIES,
    ) -> None:
        """Nothing is read from OpenAI's environment.

        `timeout_s` is the longest silence: before a whole reply, and between two pieces of a stream. What
        failed to arrive or was turned away (429, 5xx) is asked `max_retries` times more, but never what
        timed out: it would be generated anew.
        """
        self.openai = GatewaySdk(
            base_url=base_url,
            # The SDK insists on a key; a gateway without keys ignores it.
            api_key=api_key or "none",
            timeout=Timeout(timeout_s, connect=min(timeout_s, _CONNECT_S)),
            max_retries=max_retries,
        )
        """The SDK's own client, for whatever this layer does not cover."""

    def ask(
        self,
        text: str,
        image: Picture | None = None,
        model: str = DEFAULT_MODEL,
        *,
        history: Sequence[ChatCompletionMessageParam] = (),
        strict: bool = False,
        mode: Mode | None = None,
        trace: TraceShown = "full",
        policies: PoliciesInContext | None = None,
        **options: Any,
    ) -> Reply:
        """Ask and wait for the whole reply; `options` go to `chat.completions.create`.

        `history` is what was said before, as messages of the SDK. `strict` lets the engine write nothing but
        a well-formed trace that cites existing clauses; `mode` asks for stricter handling than the key's;
        `trace` says how much of the reasoning is told; `policies` are put into the model's context.
        """
        _refuse(options, "messages", "stream")
        request = _bound(options, _safety_options(strict, mode, trace, policies))
        messages = [*history, *_messages(text, image)]
        with expecting_groundrule():
            return read_reply(
                self.openai.chat.completions.create(model=model, messages=messages, stream=False, **request)
            )

    def stream(
        self,
        text: str,
        image: Picture | None = None,
        model: str = DEFAULT_MODEL,
        *,
        history: Sequence[ChatCompletionMessageParam] = (),
        strict: bool = False,
        mode: Mode | None = None,
        trace: TraceShown = "full",
        policies: PoliciesInContext | None = None,
        **options: Any,
    ) -> Stream:
        """Ask, as `ask` does, and iterate over the reply as it is written; closing it ends it."""
        _refuse(options, "messages", "stream", "stream_options")
        if _given(options).get("n") not in (None, 1):
            raise ValueError("a stream has one reply: leave `n` out; client.openai streams several")
        chunks = self.openai.chat.completions.create(
            model=model,
            messages=[*history, *_messages(text, image)],
            stream=True,
            stream_options={"include_usage": True},
            **_bound(options, _safety_options(strict, mode, trace, policies)),
        )
        return Stream(chunks)

    def models(self) -> list[str]:
        """Names that `model` may be."""
        with expecting_groundrule():
            # The SDK's own list fails on a page of HTML before anybody could say what it is.
            listed = _Models.model_validate(self.openai.get("/models", cast_to=object))
        return [model.id for model in listed.data]

    def close(self) -> None:
        """Give back the connections."""
        self.openai.close()

    def __enter__(self) -> "Groundrule":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Model(BaseModel):
    id: str


class _Models(BaseModel):
    data: list[_Model]


def _messages(text: str, image: Picture | None) -> list[ChatCompletionMessageParam]:
    parts: list[ChatCompletionContentPartParam] = []
    if image is not None:
        parts.append({"type": "image_url", "image_url": {"url": picture_url(image)}})
    parts.append({"type": "text", "text": text})
    return [{"role": "user", "content": parts}]


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


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """Every parameter that the caller named, on whichever way."""
    return {**(options.get("extra_body") or {}), **options}


def _refuse(options: dict[str, Any], *ours: str) -> None:
    """Options that would contradict what is set here."""
    if taken := [f"`{name}`" for name in ours if name in _given(options)]:
        raise TypeError(
            f"{', '.join(taken)}: no option here (earlier turns are `history`);"
            " client.openai.chat.completions.create takes everything"
        )


def _bound(options: dict[str, Any], safety: dict[str, Any]) -> dict[str, Any]:
    """The options, with ours beside whatever else the caller put into the body."""
    if not safety:
        return options
    body = dict(options.get("extra_body") or {})
    return {**options, "extra_body": {**body, "safety": {**(body.get("safety") or {}), **safety}}}
