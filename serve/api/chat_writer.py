"""What left the gate, as chat completions: chunks of a stream, or one plain body.

Everything around a text is made once per reply; of a delta only its text is encoded.
"""

from collections.abc import Iterator, Sequence
from json.encoder import encode_basestring_ascii

from policies.reply import AnswerText, ReasoningText, StepRead, VerdictRead
from serve.api.safety import step_json, verdict_json
from serve.api.wire import DONE, dumps, event
from serve.api.writer import Ending, Finished, Head, Json
from serve.errors import GatewayError
from serve.gate.values import Blocked, Out, ToolCalls, TraceShown
from serve.gate.wording import refusal_of

_UNFINISHED = b',"logprobs":null,"finish_reason":null}]}\n\n'


class ChatWriter:
    """`Writer` of `/v1/chat/completions`."""

    def __init__(self, shown: TraceShown, *, tells_usage: bool) -> None:
        self._shown = shown
        self._tells_usage = tells_usage
        self._head = b""
        """Of every chunk, up to its choices."""
        self._deltas: list[bytes] = []
        """By choice: everything before the delta."""

    def begin(self, head: Head) -> bytes:
        """The role of every choice."""
        fields = {"id": f"chatcmpl-{head.id}", "object": "chat.completion.chunk", "created": head.created}
        self._head = b"data: " + dumps({**fields, "model": head.alias})[:-1] + b',"choices":['
        self._deltas = [b'%b{"index":%d,"delta":' % (self._head, index) for index in range(head.choices)]
        role = b'{"role":"assistant","content":""}' + _UNFINISHED
        return b"".join(before + role for before in self._deltas)

    def write(self, index: int, outs: Sequence[Out]) -> bytes:
        """A chunk for each text, step, verdict or block."""
        before = self._deltas[index]
        return b"".join(before + delta + _UNFINISHED for out in outs for delta in self._of(out))

    def finish(self, index: int, ending: Ending) -> bytes:
        """The choice's last chunk, with the whole safety object."""
        frame = {"logprobs": None, "finish_reason": ending.finish_reason, **ending.extras}
        last = dumps({"safety": ending.safety}) + b"," + dumps(frame)[1:]
        return self._deltas[index] + last + b"]}\n\n"

    def end(self, usage: Json | None) -> bytes:
        """The usage chunk, for callers who asked for one, and the end."""
        if not self._tells_usage:
            return DONE
        return self._head + b'],"usage":' + dumps(usage) + b"}\n\n" + DONE

    def failed(self, error: GatewayError) -> bytes:
        """The error's body as an event; no [DONE] follows."""
        return event(error.body())

    def body(self, head: Head, choices: Sequence[Finished], usage: Json | None) -> Json:
        """A `chat.completion`."""
        return {
            "id": f"chatcmpl-{head.id}",
            "object": "chat.completion",
            "created": head.created,
            "model": head.alias,
            "choices": [self._choice(choice) for choice in choices],
            "usage": usage,
        }

    def _of(self, out: Out) -> Iterator[bytes]:
        match out:
            case AnswerText(text):
                yield b'{"content":' + _string(text) + b"}"
            case ReasoningText(text):
                if self._shown == "full":
                    encoded = _string(text)
                    yield b'{"reasoning":' + encoded + b',"reasoning_content":' + encoded + b"}"
            case StepRead(step):
                if self._shown != "none":
                    yield dumps({"safety": {"step": step_json(step)}})
            case VerdictRead(verdict):
                yield dumps({"safety": verdict_json(verdict)})
            case ToolCalls(calls):
                yield dumps({"tool_calls": [{"index": i, **call} for i, call in enumerate(calls)]})
            case Blocked():
                yield b'{"refusal":' + _string(refusal_of(out)) + b"}"

    def _choice(self, finished: Finished) -> Json:
        trace, ending = finished.trace, finished.ending
        reasoning = trace.reasoning if self._shown == "full" else ""
        message: Json = {
            "role": "assistant",
            "content": _content(finished),
            "refusal": finished.refusal,
            "reasoning": reasoning or None,
            "reasoning_content": reasoning or None,
        }
        if finished.tool_calls:
            message["tool_calls"] = list(finished.tool_calls)
        message["safety"] = ending.safety
        frame = {"index": finished.index, "message": message, "finish_reason": ending.finish_reason}
        return {"logprobs": None, **frame, **ending.extras}


def _content(finished: Finished) -> str | None:
    """Nothing, as opposed to an empty answer, where something else takes its place."""
    if finished.refusal is not None or finished.tool_calls:
        return finished.trace.answer or None
    return finished.trace.answer


def _string(text: str) -> bytes:
    return encode_basestring_ascii(text).encode("ascii")
