"""The lab's oracle: a SCRIPTED OpenAI-compatible HTTP server that knows the truth of the lab's world.

It is no model. It knows a picture by its bytes and a request by its words, and plays the part that the
request's `model` names: `groundrule-oracle` is a teacher without fault, the others (`align.mini.parts`)
are every role of the pipeline, with errors. Whatever it does not know is a 400 in OpenAI's form. It
stands where real models would, on real HTTP, so everything before and behind it is the real path.
"""

import asyncio
import base64
import binascii
import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Self

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

from align.mini.defect import Said
from align.mini.given import Given, digest, material, of_description, of_picture
from align.mini.noise import DEFAULT, Noise
from align.mini.parts import PARTS
from align.mini.replies import true_draft
from align.mini.wire import Wire, broken, error
from align.mini.world import Situation, UnknownRequest, draw_situation
from align.records import Query
from align.sources.mini import png

MODEL = "groundrule-oracle"
LAB = "lab-"
"""How the names of the other parts begin."""
SOURCE = "mini"
"""The source whose rows are situations."""
MAX_BODY_BYTES = 16 << 20
CHARS_PER_TOKEN = 4
"""Characters stand in for tokens: a script has no tokenizer."""
ONLY_THE_LAB = "this teacher only knows the lab's world"


class _Refused(Exception):
    """A request that the oracle does not answer."""


class _NoSuchModel(Exception):
    """A part that nobody plays."""


class _Request(BaseModel):
    """The part of a chat request that is read."""

    model_config = ConfigDict(strict=True)

    model: str
    messages: list[dict[str, Any]]
    seed: int | None = None
    stream: bool = False
    n: int = 1


@dataclass(frozen=True, slots=True)
class Asked:
    """What the messages of a request hold."""

    text: str
    images: tuple[bytes, ...]
    """These two are the user's alone."""
    system: str = ""


class Oracle:
    """The truth about some situations, by picture and instruction."""

    def __init__(self, situations: Iterable[Situation], noise: Noise = DEFAULT) -> None:
        self._by_image: dict[str, list[Situation]] = {}
        self._noise = noise
        self._wire = Wire(noise)
        for situation in situations:
            self._learn(digest(png(situation.scene)), situation)

    @classmethod
    def of_queries(cls, queries: Iterable[Query], noise: Noise = DEFAULT) -> Self:
        """The oracle of a run's rows; nothing is drawn, and rows of other sources are not the lab's."""
        oracle = cls((), noise)
        for query in queries:
            if query.source == SOURCE:
                oracle._learn(query.image_sha256, draw_situation(query.meta["seed"]))
        return oracle

    def _learn(self, image: str, situation: Situation) -> None:
        self._by_image.setdefault(image, []).append(situation)

    def situation(self, asked: Asked) -> Situation | None:
        """The situation that the request is about, or None."""
        if len(asked.images) != 1:
            return None
        shown = self._by_image.get(digest(asked.images[0]), [])
        return next((known for known in shown if known.instruction in asked.text), None)

    def app(self) -> web.Application:
        """The server, not yet listening."""
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", _models)
        return app

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        content = await request.read()
        try:
            body = _Request.model_validate_json(content)
            answer = self._completion(body, content)
        except ValidationError as found:
            fault = found.errors()[0]
            return error(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}", 400, "invalid_request")
        except (_Refused, UnknownRequest) as found:
            return error(str(found), 400, "unknown_situation")
        except _NoSuchModel as found:
            return error(f"nobody here plays {found}", 404, "model_not_found")
        if body.model in PARTS and (met := self._wire.fault(content)):
            return await broken(met, answer, request)
        return web.Response(body=answer, content_type="application/json")

    def _completion(self, body: _Request, content: bytes) -> bytes:
        if body.stream or body.n != 1:
            raise _Refused("this teacher gives one reply, whole")
        asked = read_messages(body.messages)
        said = self._said(body, asked)
        message: dict[str, str | None] = {"role": "assistant", "content": said.text}
        if said.refusal is not None:
            message |= {"content": None, "refusal": said.refusal}
        read, written = _tokens(asked.system + asked.text), _tokens(said.text)
        completion = {
            "id": f"chatcmpl-{hashlib.sha256(content).hexdigest()[:24]}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": body.model,
            "choices": [{"index": 0, "message": message, "finish_reason": said.finish_reason}],
            "usage": {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written},
        }
        return json.dumps(completion).encode()

    def _said(self, body: _Request, asked: Asked) -> Said:
        if part := PARTS.get(body.model):
            return part(self._given(asked), body.seed or 0, self._noise)
        if body.model.startswith(LAB):
            raise _NoSuchModel(body.model)
        situation = self.situation(asked)
        if situation is None:
            raise _Refused(ONLY_THE_LAB)
        return Said(true_draft(situation.truth).text())

    def _given(self, asked: Asked) -> Given:
        parts = material(asked.text)
        if asked.images:
            given = self._of_picture(parts["question"], asked.images)
        elif "picture" in parts:
            given = of_description(parts["question"], parts["picture"])
        else:
            raise _Refused("neither a picture nor a description is given")
        return replace(given, material=parts, system=asked.system)

    def _of_picture(self, question: str, images: tuple[bytes, ...]) -> Given:
        image = digest(images[0])
        if len(images) != 1 or image not in self._by_image:
            raise _Refused(ONLY_THE_LAB)
        return of_picture(question, image, self._by_image[image][0].scene)


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
    models = [
        {"id": name, "object": "model", "created": 0, "owned_by": "groundrule"} for name in (MODEL, *PARTS)
    ]
    return web.json_response({"object": "list", "data": models})


def read_messages(messages: list[dict[str, Any]]) -> Asked:
    """Texts and pictures of the user's messages; what is not well formed counts as absent."""
    texts: list[str] = []
    images: list[bytes] = []
    system: list[str] = []
    for message in messages:
        content = message.get("content")
        if message.get("role") == "system" and isinstance(content, str):
            system.append(content)
        if message.get("role") != "user":
            continue
        for part in content if isinstance(content, list) else [{"type": "text", "text": content}]:
            match part:
                case {"type": "text", "text": str(text)}:
                    texts.append(text)
                case {"type": "image_url", "image_url": {"url": str(url)}}:
                    images.append(_decoded(url))
    return Asked("\n".join(texts), tuple(images), "\n".join(system))


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
    return -(-len(text) // CHARS_PER_TOKEN)
