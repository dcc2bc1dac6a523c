"""A scripted engine that also writes bytes as they are, piece by piece: for what no engine should send."""

import asyncio
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from tests.fakes.scripted_engine import Asked, Json, Scripted, ScriptedEngine

EVENTS = "text/event-stream"
DONE = b"data: [DONE]\n\n"
BETWEEN_WRITES_S = 0.001
"""Enough for most of them to be read apart."""


@dataclass(frozen=True)
class Raw(Scripted):
    """A reply to whatever was asked, streamed or not."""

    writes: Sequence[bytes] = ()
    """Each one goes out alone."""
    content_type: str = EVENTS
    cookie: str = ""
    """What it wants remembered of this caller."""


class RawEngine(ScriptedEngine):
    """Takes `Raw` beside what every scripted engine takes."""

    async def _stream(self, request: web.Request, scripted: Scripted, asked: Asked) -> web.StreamResponse:
        if isinstance(scripted, Raw):
            return await _written(request, scripted, asked)
        return await super()._stream(request, scripted, asked)

    async def _tell_whole(self, request: web.Request, scripted: Scripted, asked: Asked) -> web.StreamResponse:
        if isinstance(scripted, Raw):
            return await _written(request, scripted, asked)
        return await super()._tell_whole(request, scripted, asked)


async def _written(request: web.Request, raw: Raw, asked: Asked) -> web.StreamResponse:
    cookies = {"set-cookie": raw.cookie} if raw.cookie else {}
    response = web.StreamResponse(headers={"content-type": raw.content_type, **cookies})
    await response.prepare(request)
    try:
        for piece in raw.writes:
            await response.write(piece)
            asked.sent += 1
            await asyncio.sleep(BETWEEN_WRITES_S)
    except ConnectionError:
        asked.aborted = True
    except asyncio.CancelledError:
        asked.aborted = True
        raise
    return response


def chunk(delta: Json, finish: str | None = None, index: int = 0, **choice: Any) -> Json:
    """A chunk of one choice."""
    choices = [{"index": index, "delta": delta, "finish_reason": finish, **choice}]
    return {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices}


def said(texts: Iterable[str], index: int = 0, finish: str | None = "stop") -> list[Json]:
    """The chunks of a choice that says these texts as its content, and ends."""
    chunks = [chunk({"content": text}, index=index) for text in texts]
    return chunks if finish is None else [*chunks, chunk({}, finish, index)]


def frames(chunks: Iterable[Json]) -> list[bytes]:
    """An event for each."""
    return [b"data: " + json.dumps(one, ensure_ascii=False).encode() + b"\n\n" for one in chunks]
