"""A reply as it comes from an engine: all chunks of one network read together, whatever was cut where."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

from serve.engine.events import EventReader, EventTooLong
from serve.errors import EngineFailed, EngineRejected, EngineTimeout, GatewayError

Json = dict[str, Any]

CALLERS_FAULT = frozenset({400, 413, 422, 429})
"""What the caller can mend. Anything else, a 404 for a model that we resolved included, is ours to mend."""
_DONE = b"[DONE]"
_FAILED = "the engine failed while answering; try again"
_SILENT = "the engine fell silent; try again"
_MAX_BODY_BYTES = 64 * 1024 * 1024
_LINGER_S = 0.05
"""How long the end of a finished stream is waited for, so that its connection can be used again."""
_BROKEN = (aiohttp.ClientError, EventTooLong, ValueError, KeyError, TypeError, RecursionError)
_JSON = json.JSONDecoder(parse_constant=lambda name: None)
"""NaN and the infinities are no JSON: passed on, a caller could not read the whole reply for them."""


_BLANKS = " \t\r\n"


class ReplyStream(AsyncIterator[list[Json]]):
    """Batches of chunks. What fails behind good chunks is raised behind them."""

    __slots__ = ("_content", "_ended", "_events", "_failure", "_first", "_is_stream", "_response")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self._content = response.content
        self._is_stream = response.content_type == "text/event-stream"
        self._events = EventReader()
        self._first: list[Json] | None = None
        self._failure: GatewayError | None = None
        self._ended = False

    async def begin(self) -> bool:
        """Wait for the first batch, which is kept; False if the reply ended without any."""
        self._first = await anext(self, None)
        return self._first is not None

    async def __anext__(self) -> list[Json]:
        """The chunks of the next read; raises EngineTimeout, EngineRejected, EngineFailed."""
        if self._first:
            first, self._first = self._first, None
            return first
        try:
            if not self._is_stream and not self._ended:
                return await self._read_whole()
            while not self._ended and self._failure is None:
                piece = await self._read()
                if not piece:
                    self._ended = True
                elif batch := self._taken(piece):
                    return batch
        except (TimeoutError, *_BROKEN) as error:
            raise _failed(error) from error
        if self._failure:
            raise self._failure
        raise StopAsyncIteration

    async def close(self) -> None:
        """Let go of the engine: it aborts, unless the reply was read to its end."""
        try:
            if self._ended:
                async with asyncio.timeout(_LINGER_S):
                    while not self._content.at_eof():
                        await self._content.readany()
        except (aiohttp.ClientError, TimeoutError):
            pass  # then the connection is not used again, which is all that this was for
        finally:
            self._response.close()

    def break_off(self) -> None:
        """Let go of the engine at once."""
        self._response.close()

    async def _read(self) -> bytes:
        """The next bytes; what came before a failure, when it is met, is read first."""
        try:
            return await self._content.readany()
        except (aiohttp.ClientError, TimeoutError) as error:
            # aiohttp tells of a broken connection at once, whatever it still holds: its public calls
            # would lose what was received while nobody was reading.
            rest = self._content._read_nowait(-1)
            if not rest:
                raise
            self._failure = _failed(error)
            return rest

    def _taken(self, piece: bytes) -> list[Json]:
        batch: list[Json] = []
        try:
            for data in self._events.feed(piece):
                if data == _DONE:
                    self._ended, self._failure = True, None
                    break
                batch.append(_checked(_parsed(data)))
        except GatewayError as error:
            self._failure = error
        except _BROKEN as error:
            self._failure = _failed(error)
        return batch

    async def _read_whole(self) -> list[Json]:
        """An engine that was asked for one body, or that ignored `stream`: the same reply in one chunk."""
        pieces, size = [], 0
        while piece := await self._content.readany():
            pieces.append(piece)
            size += len(piece)
            if size > _MAX_BODY_BYTES:
                raise EventTooLong
        self._ended = True
        return [_as_chunk(_checked(_parsed(b"".join(pieces))))]


def _failed(cause: Exception) -> GatewayError:
    failure = EngineTimeout(_SILENT) if isinstance(cause, TimeoutError) else EngineFailed(_FAILED)
    failure.__cause__ = cause
    return failure


def _parsed(data: bytes) -> Any:
    """As json.loads does with bytes, less its guessing at UTF-16 and UTF-32."""
    text = data.decode("utf-8", "surrogatepass").strip(_BLANKS)
    parsed, end = _JSON.raw_decode(text)
    if end < len(text):
        raise ValueError("something follows the value")
    return parsed


def _checked(chunk: Any) -> Json:
    """An engine that fails after its status line says so in an event."""
    if not (isinstance(chunk, dict) and isinstance(chunk.get("choices") or [], list)):
        raise EngineFailed(_FAILED)
    error = chunk.get("error")
    if error is None:
        return chunk
    status = error.get("code") if isinstance(error, dict) else None
    if status in CALLERS_FAULT:
        raise EngineRejected(str(error.get("message")), status=status, param=error.get("param"))
    raise EngineFailed(_FAILED)


def _as_chunk(body: Json) -> Json:
    choices = [{**choice, "delta": _as_delta(choice["message"])} for choice in body["choices"]]
    return {**body, "choices": choices}


def _as_delta(message: Any) -> Json:
    """Calls of a whole message stand in their order, and have no `index` as those of a stream do."""
    if not isinstance(message, dict):
        raise EngineFailed(_FAILED)
    calls = message.get("tool_calls")
    if not calls:
        return message
    return {**message, "tool_calls": [{"index": index, **call} for index, call in enumerate(calls)]}
