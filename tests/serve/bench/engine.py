"""The bench's engine, as a process of its own: `python -m tests.serve.bench.engine PORT`.

Speaks vLLM's API with frames that were encoded before it started, so that it costs next to nothing.
It also stands in for a guard's endpoint (`/v1/moderations`), which passes everything after 5 ms.
"""

import asyncio
import json
import sys
from typing import Any

import httptools
import uvloop

from tests.serve.bench.script import FORBIDDEN_TEXT, FORBIDDINGLY, PAUSE_S, SLOWLY, TEXT, pieces

GUARD_S = 0.005
_HEAD = {"id": "chatcmpl-0123456789abcdef", "created": 1760000000, "model": "base"}


def _usage(completion: int) -> dict[str, int]:
    return {"prompt_tokens": 31, "completion_tokens": completion, "total_tokens": 31 + completion}


def _body(status: str, content: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    return head.encode() + content


def _whole(text: str) -> bytes:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": text,
        "refusal": None,
        "tool_calls": [],
        "reasoning": None,
    }
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop", "stop_reason": None}
    reply = {**_HEAD, "object": "chat.completion", "choices": [choice], "usage": _usage(49)}
    return _body("200 OK", json.dumps(reply).encode())


def _frames(text: str, *, counts: bool) -> list[bytes]:
    """Writes of one stream, the first with the headers; `counts`: usage in every chunk, if asked for."""
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": piece} for piece in pieces(text)]
    chunks = []
    for number, delta in enumerate(deltas):
        finish = "stop" if number == len(deltas) - 1 else None
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish, "token_ids": None}
        so_far = {"usage": _usage(number)} if counts else {}
        chunks.append({**_HEAD, "object": "chat.completion.chunk", "choices": [choice], **so_far})
    chunks.append({**_HEAD, "object": "chat.completion.chunk", "choices": [], "usage": _usage(49)})
    events = [b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks]
    frames = [b"%x\r\n%b\r\n" % (len(event), event) for event in (*events, b"data: [DONE]\n\n")]
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return [head + frames[0], *frames[1:-2], frames[-2] + frames[-1] + b"0\r\n\r\n"]


_WHOLE = {False: _whole(TEXT), True: _whole(FORBIDDEN_TEXT)}
_STREAMS = {
    (is_forbidden, counts): _frames(text, counts=counts)
    for is_forbidden, text in ((False, TEXT), (True, FORBIDDEN_TEXT))
    for counts in (False, True)
}
_PASSED = _body("200 OK", json.dumps({"results": [{"flagged": False, "categories": {}}]}).encode())


class _Connection(asyncio.Protocol):
    """One keep-alive connection; requests come one after the other."""

    adapters: dict[str, str] = {}  # noqa: RUF012  # all connections' on purpose

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._pieces: list[bytes] = []

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._url = url

    def on_body(self, piece: bytes) -> None:
        self._pieces.append(piece)

    def on_message_complete(self) -> None:
        body, self._pieces = b"".join(self._pieces), []
        if self._url == b"/v1/chat/completions":
            self._chat(body)
        elif self._url == b"/v1/moderations":
            self._loop.call_later(GUARD_S, self._write, _PASSED)
        else:
            self._write(self._other(body))

    def _chat(self, body: bytes) -> None:
        is_forbidden = FORBIDDINGLY.encode() in body
        if b'"stream":true' not in body.replace(b" ", b""):
            self._write(_WHOLE[is_forbidden])
            return
        frames = _STREAMS[is_forbidden, b"continuous_usage_stats" in body]
        if SLOWLY.encode() in body:
            self._tell(frames, 0)
        else:
            for frame in frames:
                self._transport.write(frame)

    def _tell(self, frames: list[bytes], number: int) -> None:
        self._write(frames[number])
        if number + 1 < len(frames):
            self._loop.call_later(PAUSE_S, self._tell, frames, number + 1)

    def _write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    def _other(self, body: bytes) -> bytes:
        """Health, and what ours and the router ask of an engine at their start."""
        if self._url == b"/v1/load_lora_adapter":
            told = json.loads(body)
            self.adapters[told["lora_name"]] = told["lora_path"]
        elif self._url == b"/v1/models":
            cards: list[dict[str, Any]] = [{"id": "base", "object": "model", "parent": None}]
            cards += [{"id": name, "object": "model", "parent": "base"} for name in self.adapters]
            return _body("200 OK", json.dumps({"object": "list", "data": cards}).encode())
        elif self._url != b"/health":
            return _body("404 Not Found", b"{}")
        return _body("200 OK", b"{}")


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
