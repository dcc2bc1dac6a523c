"""The lab's oracle: a SCRIPTED OpenAI-compatible HTTP server that knows the truth of the lab's world.

It is no model. It knows a situation by its picture's bytes and its instruction, and answers with the
trajectory that `oracle_trace` writes for it; whatever it does not know is a 400 in OpenAI's form. It
stands where a real teacher would, on real HTTP, so everything before and behind it is the real path.
"""

import asyncio
import base64
import binascii
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

from align.mini.replies import oracle_trace
from align.mini.world import Situation
from align.sources.mini import png
from policies.formats import THINK
from policies.render import render

MODEL = "groundrule-oracle"
MAX_BODY_BYTES = 16 << 20
ONLY_THE_LAB = "this teacher only knows the lab's world"


class _Refused(Exception):
    """A request that the oracle cannot answer."""


class _Request(BaseModel):
    """The part of a chat request that is read."""

    model_config = ConfigDict(strict=True)

    model: str
    messages: list[dict[str, Any]]
    stream: bool = False
    n: int = 1


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user messages of a request hold."""

    text: str
    images: tuple[bytes, ...]


class Oracle:
    """The truth about some situations, by picture and instruction."""

    def __init__(self, situations: Iterable[Situation]) -> None:
        self._by_image: dict[str, list[Situation]] = {}
        for situation in situations:
            digest = hashlib.sha256(png(situation.scene)).hexdigest()
            self._by_image.setdefault(digest, []).append(situation)

    def situation(self, asked: Asked) -> Situation | None:
        """The situation that the request is about, or None."""
        if len(asked.images) != 1:
            return None
        shown = self._by_image.get(hashlib.sha256(asked.images[0]).hexdigest(), [])
        return next((known for known in shown if known.instruction in asked.text), None)

    def app(self) -> web.Application:
        """The server, not yet listening."""
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", _models)
        return app

    async def _chat(self, request: web.Request) -> web.Response:
        try:
            body = _Request.model_validate_json(await request.read())
            return web.json_response(self._completion(body))
        except ValidationError as error:
            fault = error.errors()[0]
            return _refusal(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}", "invalid_request")
        except _Refused as error:
            return _refusal(str(error), "unknown_situation")

    def _completion(self, body: _Request) -> dict[str, Any]:
        if body.stream or body.n != 1:
            raise _Refused("this teacher gives one reply, whole")
        asked = read_messages(body.messages)
        situation = self.situation(asked)
        if situation is None:
            raise _Refused(ONLY_THE_LAB)
        text = render(oracle_trace(situation), THINK)
        read, written = _tokens(asked.text), _tokens(text)
        return {
            "id": f"chatcmpl-{hashlib.sha256(situation.seed.encode()).hexdigest()[:24]}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": body.model,
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            ],
            "usage": {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written},
        }


@asynccontextmanager
async def serving(oracle: Oracle, port: int = 0) -> AsyncIterator[str]:
    """Listen on this machine only; gives the base URL. Port 0 takes a free one."""
    runner = web.AppRunner(oracle.app(), access_log=None, handle_signals=False)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


async def serve_forever(oracle: Oracle, port: int, announce: Callable[[str], None]) -> None:
    """Listen until cancelled; `announce` gets the base URL."""
    async with serving(oracle, port) as base_url:
        announce(base_url)
        await asyncio.Event().wait()


async def _models(_: web.Request) -> web.Response:
    model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "groundrule"}
    return web.json_response({"object": "list", "data": [model]})


def _refusal(message: str, code: str) -> web.Response:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return web.json_response({"error": error}, status=400)


def read_messages(messages: list[dict[str, Any]]) -> Asked:
    """Texts and pictures of the user's messages; what is not well formed counts as absent."""
    texts: list[str] = []
    images: list[bytes] = []
    for message in messages:
        if message.get("role") != "user":
            continue
        content = message.get("content")
        for part in content if isinstance(content, list) else [{"type": "text", "text": content}]:
            match part:
                case {"type": "text", "text": str(text)}:
                    texts.append(text)
                case {"type": "image_url", "image_url": {"url": str(url)}}:
                    images.append(_decoded(url))
    return Asked("\n".join(texts), tuple(images))


def _decoded(url: str) -> bytes:
    """A data URL's bytes; empty for any other address, which the oracle does not fetch."""
    head, _, data = url.partition(",")
    if not (head.startswith("data:") and head.endswith(";base64")):
        return b""
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error:
        return b""


def _tokens(text: str) -> int:
    """Words stand in for tokens: a script has no tokenizer."""
    return len(text.split())
