"""Speaks HTTP to one engine, and translates its failures into the gateway's: nowhere else does.

aiohttp, because httpx costs several times its CPU per streamed chunk. Whoever leaves the context of
`stream_chat`, for whatever reason, closes the connection, and that makes the engine abort.
"""

import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import aiohttp

from serve.engine.events import EventReader, EventTooLong
from serve.engine.replica import Replica
from serve.engine.supervisor import EngineStartError
from serve.errors import EngineFailed, EngineRejected, EngineTimeout, EngineUnavailable, GatewayError
from serve.settings import EngineSettings

Json = dict[str, Any]

# What the caller can mend. Anything else, a 404 for a model that we resolved included, is ours to mend.
_CALLERS_FAULT = frozenset({400, 413, 422, 429})
_DONE = b"[DONE]"
_CONTROL_TIMEOUT = aiohttp.ClientTimeout(total=10)
_LOAD_TIMEOUT = aiohttp.ClientTimeout(total=300)
_UNAVAILABLE = "the engine cannot be reached; try again"
_FAILED = "the engine failed while answering; try again"


def open_session(settings: EngineSettings) -> aiohttp.ClientSession:
    """The connection pool to the engine."""
    headers = {}
    if settings.remote and settings.remote.api_key:
        headers["authorization"] = f"Bearer {settings.remote.api_key.get_secret_value()}"
    return aiohttp.ClientSession(
        # No limit: admission bounds the requests. Idle connections are dropped before vLLM drops them
        # (after 5 s), else a request could be sent into a connection that is just being closed.
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=3),
        timeout=aiohttp.ClientTimeout(
            total=None, sock_connect=settings.connect_timeout_s, sock_read=settings.read_timeout_s
        ),
        headers=headers,
    )


class EngineClient:
    """Everything the gateway asks of an engine."""

    def __init__(self, replica: Replica, session: aiohttp.ClientSession) -> None:
        self._replica = replica
        self._session = session

    @asynccontextmanager
    async def stream_chat(
        self, payload: Mapping[str, Any], request_id: str
    ) -> AsyncIterator[AsyncIterator[Json]]:
        """Chunks of a chat completion; entering fails with a status that can still be answered as such.

        The payload is let go of once it is sent: it holds pictures, and the reply may take minutes.
        """
        headers = {"content-type": "application/json", "x-request-id": request_id}
        url = f"{self._replica.url}/v1/chat/completions"
        # A file, since aiohttp would write bytes of this size in one go, and warns of it.
        body = io.BytesIO(json.dumps(payload).encode())
        del payload
        try:
            response = await self._session.post(url, data=body, headers=headers, allow_redirects=False)
        except TimeoutError as error:
            raise EngineTimeout("the engine took too long to begin; try again") from error
        except aiohttp.ClientError as error:
            raise EngineUnavailable(_UNAVAILABLE) from error
        finally:
            del body
        try:
            if response.status != HTTPStatus.OK:
                raise await _refusal(response)
            yield _chunks(response)
        finally:
            response.close()

    async def is_healthy(self) -> bool:
        """Whether the engine answers its health check."""
        try:
            async with self._session.get(f"{self._replica.url}/health", timeout=_CONTROL_TIMEOUT) as response:
                return response.status == HTTPStatus.OK
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def model_parents(self) -> dict[str, str | None]:
        """Every model the engine offers, with its base model's name if it is an adapter."""
        try:
            url = f"{self._replica.url}/v1/models"
            async with self._session.get(url, timeout=_CONTROL_TIMEOUT) as response:
                response.raise_for_status()
                return {card["id"]: card.get("parent") for card in (await response.json())["data"]}
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError) as error:
            raise EngineStartError(f"the engine did not list its models: {error!r}") from error

    async def load_adapter(self, name: str, path: str) -> None:
        """Load an adapter from a directory that the engine can read."""
        url = f"{self._replica.url}/v1/load_lora_adapter"
        body = {"lora_name": name, "lora_path": path}
        try:
            async with self._session.post(url, json=body, timeout=_LOAD_TIMEOUT) as response:
                if response.status == HTTPStatus.OK:
                    return
                answer = (await response.text())[:2000]
        except (aiohttp.ClientError, TimeoutError) as error:
            raise EngineStartError(f"the engine could not load adapter {name}: {error!r}") from error
        hint = ""
        if response.status == HTTPStatus.NOT_FOUND and "lora" not in answer.lower():
            hint = " (it must run with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True)"
        raise EngineStartError(f"the engine refused adapter {name}: {response.status} {answer}{hint}")


async def _refusal(response: aiohttp.ClientResponse) -> GatewayError:
    if response.status not in _CALLERS_FAULT:
        return EngineUnavailable(_UNAVAILABLE)
    try:
        error = json.loads(await response.read())["error"]
        return EngineRejected(str(error["message"]), status=response.status, param=error.get("param"))
    except (ValueError, KeyError, TypeError, AttributeError, aiohttp.ClientError, TimeoutError):
        return EngineRejected("the engine refused the request", status=response.status)


async def _chunks(response: aiohttp.ClientResponse) -> AsyncIterator[Json]:
    try:
        if response.content_type != "text/event-stream":
            yield _as_chunk(json.loads(await response.read()))
            return
        reader = EventReader()
        async for piece in response.content.iter_any():
            for data in reader.feed(piece):
                if data == _DONE:
                    return
                yield _checked(json.loads(data))
    except TimeoutError as error:
        raise EngineTimeout("the engine fell silent; try again") from error
    except (aiohttp.ClientError, EventTooLong, ValueError, KeyError, TypeError) as error:
        raise EngineFailed(_FAILED) from error


def _checked(chunk: Any) -> Json:
    """An engine that fails after its status line says so in an event."""
    if not isinstance(chunk, dict):
        raise EngineFailed(_FAILED)
    error = chunk.get("error")
    if error is None:
        return chunk
    status = error.get("code") if isinstance(error, dict) else None
    if status in _CALLERS_FAULT:
        raise EngineRejected(str(error.get("message")), status=status, param=error.get("param"))
    raise EngineFailed(_FAILED)


def _as_chunk(body: Json) -> Json:
    """An engine that ignored `stream` answered with a whole body: the same reply in one chunk."""
    choices = [{**choice, "delta": choice["message"]} for choice in body["choices"]]
    return {**body, "choices": choices}
