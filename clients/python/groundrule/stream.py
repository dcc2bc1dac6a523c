"""A reply while it is written: the SDK's chunks in, events out."""

from collections.abc import Generator, Iterator
from types import TracebackType
from typing import Literal

import openai
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk
from pydantic import BaseModel

from groundrule.errors import NotGroundruleError, TruncatedStreamError, expecting_groundrule
from groundrule.events import AnswerText, Event, Finished, ReasoningText, StepRead, VerdictRead
from groundrule.reply import PARTING, read_reply
from groundrule.safety import Action, Step, Verdict


class Stream(Iterator[Event]):
    """The events of one reply. Whoever leaves before the last one closes it, which ends the generation."""

    def __init__(self, chunks: openai.Stream[ChatCompletionChunk]) -> None:
        self._chunks = chunks
        # The reader knows nothing of the stream: one that is dropped half read is closed at once.
        self._events = _Reader().read(chunks)

    def __next__(self) -> Event:
        return next(self._events)

    def close(self) -> None:
        """Give back the connection; there are no more events."""
        self._events.close()
        self._chunks.close()

    def __enter__(self) -> "Stream":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Reader:
    """Puts a reply together while it is passed on."""

    def __init__(self) -> None:
        self._state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
        self._over = False

    def read(self, chunks: openai.Stream[ChatCompletionChunk]) -> Generator[Event, None, None]:
        with chunks, expecting_groundrule():
            kind = chunks.response.headers.get("content-type", "")
            if not kind.startswith("text/event-stream"):
                raise NotGroundruleError("the answer is no stream of events: is the URL right?")
            try:
                for chunk in chunks:
                    yield from self._events(chunk)
            except openai.APITimeoutError:
                raise
            except openai.APIConnectionError as error:
                raise _truncated(chunks) from error
            if not self._over:
                raise _truncated(chunks)
            # The SDK's final completion would be an error for a reply that was cut short or filtered.
            yield Finished(read_reply(self._state.current_completion_snapshot))

    def _events(self, chunk: ChatCompletionChunk) -> Iterator[Event]:
        choices = _Chunk.model_validate(chunk, from_attributes=True).choices
        for choice, raw in zip(choices, chunk.choices, strict=True):
            self._over = self._over or choice.finish_reason is not None
            if choice.delta.safety and choice.delta.safety.action is None:
                # What is told of the safety object meanwhile would be added to the whole one.
                (raw.delta.model_extra or {}).pop("safety", None)
        self._state.handle_chunk(chunk)
        for choice in choices:
            yield from self._told(choice.delta)

    def _told(self, delta: "_Delta") -> Iterator[Event]:
        if delta.reasoning:
            yield ReasoningText(delta.reasoning)
        if delta.safety:
            yield from delta.safety.events()
        if delta.content:
            yield AnswerText(delta.content)
        if delta.refusal:
            message = self._state.current_completion_snapshot.choices[0].message
            begins = message.content and message.refusal == delta.refusal
            yield AnswerText((PARTING if begins else "") + delta.refusal)


def _truncated(chunks: openai.Stream[ChatCompletionChunk]) -> TruncatedStreamError:
    return TruncatedStreamError(
        message="the connection ended before the reply did; ask again", request=chunks.response.request
    )


class _Told(BaseModel):
    """A part of the safety object; the one with an action is the whole."""

    step: Step | None = None
    verdict: Verdict | None = None
    action: Action | None = None

    def events(self) -> Iterator[Event]:
        if self.step is not None:
            yield StepRead(self.step)
        elif self.action is None and "verdict" in self.model_fields_set:
            yield VerdictRead(self.verdict)


class _Delta(BaseModel):
    content: str | None = None
    refusal: str | None = None
    reasoning: str | None = None
    safety: _Told | None = None


class _Choice(BaseModel):
    index: Literal[0]
    delta: _Delta
    finish_reason: str | None = None


class _Chunk(BaseModel):
    choices: tuple[_Choice, ...]
