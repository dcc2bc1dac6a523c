"""How likely every token of a given reply is, told by vLLM's OpenAI-compatible server (0.32).

The conversation goes out with the reply as its last message, to be continued by one token that nobody
wants; `prompt_logprobs: 0` gives each token of the prompt, the reply's among them, with its log-probability
(natural, before any temperature). For such requests vLLM leaves its prefix cache unread. A model's name
may be an adapter's. Tokens are those of the reply's text; the model may have cut the same text otherwise
when it wrote it. Knows nothing of steps and sources.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from align.errors import RecipeError

if TYPE_CHECKING:
    from openai import AsyncOpenAI

Message = Mapping[str, Any]

MINUS_INFINITY = -9999.0
"""What vLLM writes for it, since JSON has no infinity."""
_MOST_CHARS = 120
"""Of an error's message as a reason."""


class NotTold(Exception):
    """The engine's answer says nothing about this reply; the message is a kind of reason, to be counted."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A reply's tokens as text, and how likely each was."""

    prompt: str
    """What stood before the reply, as the engine's template wrote it (without its first token)."""
    pieces: tuple[str, ...]
    """One per token; empty where a token ends inside a character that a later one completes."""
    logprobs: tuple[float, ...]
    """Of each token given all before it, in nats; one per token."""
    begin: int
    """Character of the reply at which the first piece begins: below 0 where that piece spans its border."""


async def scored(client: "AsyncOpenAI", model: str, messages: Sequence[Message], text: str) -> Scored:
    """Score `text` as the model's reply to `messages`.

    NotTold where this answer is of no use, RecipeError where no other would be.
    """
    continued = {"add_generation_prompt": False, "continue_final_message": True}
    reply = {"role": "assistant", "content": text}
    return _cut(await _told(client, model, [*messages, reply], continued), text)


async def check_template(
    client: "AsyncOpenAI", model: str, messages: Sequence[Message], reply: Scored
) -> None:
    """RecipeError where a reply given is not put where a reply to come would be.

    Some templates cut the reasoning out of a given reply, or open it a second time; what is scored would
    then not be what the model wrote.
    """
    told = await _told(client, model, messages, {"add_generation_prompt": True})
    prompt = "".join(piece for piece, _ in told)
    if reply.prompt != prompt:
        raise RecipeError(
            f"the chat template of {model!r} does not continue a given reply as one to come: "
            f"{reply.prompt[-40:]!r} stands before it instead of {prompt[-40:]!r}; "
            "serve the model with a template that leaves replies as they are"
        )


async def _told(
    client: "AsyncOpenAI", model: str, messages: Sequence[Message], how: Mapping[str, bool]
) -> list[tuple[str, float | None]]:
    """Each token of the prompt but the first, which nothing precedes, with its log-probability."""
    from openai import APIConnectionError, APIStatusError, APITimeoutError

    body = {"model": model, "messages": list(messages), "max_tokens": 1, "prompt_logprobs": 0, **how}
    try:
        answer = await client.post("/chat/completions", cast_to=object, body=body)
    except APITimeoutError:
        raise NotTold("no answer in time") from None
    except APIConnectionError as error:
        raise RecipeError(
            f"no engine answers at {client.base_url} ({error}): start it, or correct it"
        ) from None
    except APIStatusError as error:
        if error.status_code in (401, 403, 404, 405):
            raise RecipeError(
                f"the engine at {client.base_url} cannot be asked for {model!r}: {error}"
            ) from None
        raise NotTold(str(error)[:_MOST_CHARS]) from None
    return _read(answer)


def _read(answer: object) -> list[tuple[str, float | None]]:
    told = answer.get("prompt_logprobs") if isinstance(answer, dict) else None
    if not isinstance(told, list) or not told:
        raise NotTold("no prompt_logprobs")
    try:
        # The prompt's own token is the first of its place, and with 0 others asked for the only one.
        tokens = [next(iter(place.values())) for place in told[1:]]
        return [(str(token["decoded_token"]), _number(token["logprob"])) for token in tokens]
    except (AttributeError, KeyError, StopIteration, TypeError):
        raise NotTold("prompt_logprobs in an unknown form") from None


def _number(told: object) -> float | None:
    """None for what is no log-probability: missing, NaN, above 0, or vLLM's minus infinity."""
    return float(told) if isinstance(told, int | float) and MINUS_INFINITY < told <= 0 else None


def _cut(told: Sequence[tuple[str, float | None]], text: str) -> Scored:
    """The last tokens that spell the reply; vLLM's pieces are exact, so anything else is another text."""
    whole = "".join(piece for piece, _ in told)
    if not whole.endswith(text):
        raise NotTold("the prompt does not end with the reply")
    first, begin = len(told), len(text)
    while begin > 0:
        first -= 1
        begin -= len(told[first][0])
    logprobs = [logprob for _, logprob in told[first:] if logprob is not None]
    if len(logprobs) < len(told) - first:
        raise NotTold("a token without a finite log-probability")
    pieces = tuple(piece for piece, _ in told[first:])
    return Scored(whole.removesuffix(text), pieces, tuple(logprobs), begin)
