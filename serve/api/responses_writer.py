"""What left the gate, as the responses API's items: events of a stream, or one plain body.

Ids are made once: clients refuse a response or an item that changes its id. Items come one after another,
reasoning, message, tool calls, and each is done before the next begins.
"""

from collections.abc import Iterator, Sequence
from json.encoder import encode_basestring_ascii
from typing import Literal

from policies.reply import AnswerText, ReasoningText, StepRead, VerdictRead
from serve.api import responses_items as items
from serve.api.safety import step_json, verdict_json
from serve.api.wire import dumps
from serve.api.writer import Ending, Finished, Head, Json
from serve.errors import GatewayError
from serve.gate.values import Blocked, Out, ToolCalls, TraceShown
from serve.gate.wording import refusal_of

_ItemType = Literal["reasoning", "message"]
_Kind = Literal["reasoning_text", "output_text", "refusal"]
_PARTS = {
    "reasoning_text": items.reasoning_part,
    "output_text": items.text_part,
    "refusal": items.refusal_part,
}


class ResponsesWriter:
    """`Writer` of `/v1/responses`; there is one choice, whose index is 0."""

    def __init__(self, echo: Json, shown: TraceShown, *, tells_steps: bool) -> None:
        """`echo`: the request's own fields, which every response repeats."""
        self._echo = echo
        self._shown = shown
        self._tells_steps = tells_steps
        self._head = Head("", 0, "", 1)
        self._sequence = 0
        self._output: list[Json] = []
        """Items that are done."""
        self._item: _Item | None = None
        self._part: _Part | None = None
        self._verdict: Json = verdict_json(None)
        self._calls: tuple[Json, ...] = ()
        self._ending: Ending | None = None
        self._has_answer = False

    def begin(self, head: Head) -> bytes:
        """That there is a response, without anything in it."""
        self._head = head
        response = self._response("in_progress", [], None)
        return b"".join(
            self._event(f"response.{name}", response=response) for name in ("created", "in_progress")
        )

    def write(self, index: int, outs: Sequence[Out]) -> bytes:
        """Deltas, and the items and parts around them."""
        return b"".join(piece for out in outs for piece in self._of(out))

    def finish(self, index: int, ending: Ending) -> bytes:
        """The rest of the items: a message with the safety object, then tool calls."""
        self._ending = ending
        told: list[bytes] = []
        incomplete = items.incomplete_reason(ending, has_answer=self._has_answer)
        if self._item is None and not self._calls and not incomplete:
            told += self._text("output_text", "")
        told += self._close_item("incomplete" if incomplete else "completed", ending.safety)
        for call in self._calls:
            told += self._call(call)
        return b"".join(told)

    def end(self, usage: Json | None) -> bytes:
        """The whole response; nothing follows it, no [DONE] either."""
        if self._ending is None:
            raise ValueError("a response ends after its choice")
        reason = items.incomplete_reason(self._ending, has_answer=self._has_answer)
        response = self._whole(self._output, self._ending, reason, usage)
        return self._event(f"response.{response['status']}", response=response)

    def failed(self, error: GatewayError) -> bytes:
        """The response as it broke off, then the error; it has OpenAI's fields and our usual body's."""
        response = self._response("failed", self._output, None)
        response["error"] = {"code": error.code, "message": error.message}
        fields = {"code": error.code, "message": error.message, "param": error.param}
        return self._event("response.failed", response=response) + self._event(
            "error", **fields, **error.body()
        )

    def body(self, head: Head, choices: Sequence[Finished], usage: Json | None) -> Json:
        """A `response`."""
        self._head = head
        (finished,) = choices
        trace, ending = finished.trace, finished.ending
        reason = items.incomplete_reason(ending, has_answer=bool(trace.answer))
        status = "incomplete" if reason else "completed"
        output: list[Json] = []
        parts = [items.text_part(trace.answer)] if trace.answer else []
        if finished.refusal is not None:
            parts.append(items.refusal_part(finished.refusal))
        if trace.reasoning and self._shown == "full":
            # Cut off inside the reasoning, nothing followed it.
            reasoned = status if not parts else "completed"
            output.append(
                items.reasoning_item(f"rs_{head.id}", [items.reasoning_part(trace.reasoning)], reasoned)
            )
        if not parts and not finished.tool_calls and not reason:
            parts = [items.text_part("")]
        if parts:
            output.append(items.message_item(f"msg_{head.id}", parts, status, ending.safety))
        for number, call in enumerate(finished.tool_calls):
            output.append(
                items.call_item(f"fc_{head.id}_{number}", call, items.arguments_of(call), "completed")
            )
        return self._whole(output, ending, reason, usage)

    def _of(self, out: Out) -> Iterator[bytes]:
        match out:
            case AnswerText(text):
                self._has_answer = True
                yield from self._text("output_text", text)
            case ReasoningText(text):
                if self._shown == "full":
                    yield from self._text("reasoning_text", text)
            case StepRead(step):
                if self._tells_steps and self._shown != "none":
                    yield self._event("response.safety.step", step=step_json(step))
            case VerdictRead(verdict):
                self._verdict = verdict_json(verdict)
            case ToolCalls(calls):
                self._calls = calls
            case Blocked():
                yield from self._text("refusal", refusal_of(out))

    def _text(self, kind: _Kind, text: str) -> Iterator[bytes]:
        """More of a part, begun where it has not."""
        part = self._part
        if part is None or part.kind != kind:
            yield from self._begin_part(kind)
            part = self._part
        if part is not None and text:
            part.texts.append(text)
            number = self._number()
            yield b'%b%d,"delta":%b}\n\n' % (
                part.before,
                number,
                encode_basestring_ascii(text).encode("ascii"),
            )

    def _begin_part(self, kind: _Kind) -> Iterator[bytes]:
        wanted: _ItemType = "reasoning" if kind == "reasoning_text" else "message"
        if self._item is None or self._item.type != wanted:
            yield from self._close_item("completed", {})
            yield from self._begin_item(wanted)
        yield from self._close_part()
        if self._item is None:
            raise RuntimeError("a part needs an item")
        self._part = _Part(kind, self._item, len(self._output), len(self._item.parts))
        where = self._part.where
        yield self._event("response.content_part.added", **where, part=_PARTS[kind](""))

    def _begin_item(self, type_: _ItemType) -> Iterator[bytes]:
        self._item = _Item(type_, f"{'rs' if type_ == 'reasoning' else 'msg'}_{self._head.id}")
        item = self._item.json("in_progress", self._verdict)
        yield self._event("response.output_item.added", output_index=len(self._output), item=item)

    def _close_part(self) -> Iterator[bytes]:
        part, self._part = self._part, None
        if part is None:
            return
        whole = "".join(part.texts)
        done = {"refusal": whole} if part.kind == "refusal" else {"text": whole}
        if part.kind == "output_text":
            done["logprobs"] = []  # type: ignore[assignment]  # the SDKs demand the field
        yield self._event(f"response.{part.kind}.done", **part.where, **done)
        part.item.parts.append(_PARTS[part.kind](whole))
        yield self._event("response.content_part.done", **part.where, part=part.item.parts[-1])

    def _close_item(self, status: str, safety: Json) -> list[bytes]:
        told = list(self._close_part())
        item, self._item = self._item, None
        if item is not None:
            done = item.json(status, safety)
            told.append(self._event("response.output_item.done", output_index=len(self._output), item=done))
            self._output.append(done)
        return told

    def _call(self, call: Json) -> Iterator[bytes]:
        index = len(self._output)
        number = sum(item["type"] == "function_call" for item in self._output)
        id_, arguments = f"fc_{self._head.id}_{number}", items.arguments_of(call)
        where = {"item_id": id_, "output_index": index}
        begun = items.call_item(id_, call, "", "in_progress")
        yield self._event("response.output_item.added", output_index=index, item=begun)
        yield self._event("response.function_call_arguments.delta", **where, delta=arguments)
        name = begun["name"]
        yield self._event("response.function_call_arguments.done", **where, name=name, arguments=arguments)
        done = items.call_item(id_, call, arguments, "completed")
        yield self._event("response.output_item.done", output_index=index, item=done)
        self._output.append(done)

    def _whole(self, output: list[Json], ending: Ending, reason: str | None, usage: Json | None) -> Json:
        response = self._response("incomplete" if reason else "completed", output, items.usage_json(usage))
        response["incomplete_details"] = {"reason": reason} if reason else None
        return {**response, "safety": ending.safety}

    def _response(self, status: str, output: list[Json], usage: Json | None) -> Json:
        return {
            "id": f"resp_{self._head.id}",
            "object": "response",
            "created_at": self._head.created,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "model": self._head.alias,
            **self._echo,
            "output": list(output),
            "usage": usage,
        }

    def _event(self, type_: str, **fields: object) -> bytes:
        data = dumps({"type": type_, "sequence_number": self._number(), **fields})
        return b"event: %b\ndata: %b\n\n" % (type_.encode(), data)

    def _number(self) -> int:
        number, self._sequence = self._sequence, self._sequence + 1
        return number


class _Item:
    """An item under way."""

    def __init__(self, type_: _ItemType, id_: str) -> None:
        self.type = type_
        self.id = id_
        self.parts: list[Json] = []
        """Those that are done."""

    def json(self, status: str, safety: Json) -> Json:
        parts = list(self.parts)
        if self.type == "reasoning":
            return items.reasoning_item(self.id, parts, status)
        return items.message_item(self.id, parts, status, safety)


class _Part:
    """A part under way."""

    def __init__(self, kind: _Kind, item: _Item, output_index: int, content_index: int) -> None:
        self.kind = kind
        self.item = item
        self.texts: list[str] = []
        self.where = {"item_id": item.id, "output_index": output_index, "content_index": content_index}
        type_ = f"response.{kind}.delta"
        fields = {"type": type_, **self.where}
        if kind == "output_text":
            fields["logprobs"] = []
        self.before = b"event: %b\ndata: %b" % (type_.encode(), dumps(fields)[:-1] + b',"sequence_number":')
        """Of every delta, up to its number and its text."""
