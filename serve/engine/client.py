"""Speaks HTTP to one engine, and translates its failures into the gateway's: nowhere else does.

aiohttp, because httpx costs several times its CPU per streamed chunk. Closing a reply before its end
closes the connection, and that makes the engine abort.
"""

import io
import json
import logging
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus
from typing import Any

import aiohttp

from serve.engine.kinds import KINDS, Kind
from serve.engine.replica import Replica
from serve.engine.stream import CALLERS_FAULT, ReplyStream
from serve.engine.supervisor import EngineStartError
from serve.errors import EngineFailed, EngineRejected, EngineTimeout, EngineUnavailable, GatewayError
from serve.options.engine import EngineKind, EngineSettings

Json = dict[str, Any]

_log = logging.getLogger(__name__)
_ELSEWHERE = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})
"""What another replica may do better. 429, 408 and 500 are not: they would only be multiplied."""
_CONTROL_TIMEOUT = aiohttp.ClientTimeout(total=10)
_LOAD_TIMEOUT = aiohttp.ClientTimeout(total=300)
_UNAVAILABLE = "the engine cannot be reached; try again"
_BROKE_OFF = "the engine broke off before it answered; try again"


class NotBegun(Exception):
    """No reply began, and another replica may do better; `error` is what a caller is told if none does."""

    def __init__(self, error: GatewayError, *, is_gone: bool = True, forgot_model: bool = False) -> None:
        super().__init__(error.message)
        self.error = error
        self.is_gone = is_gone
        """It speaks of the replica and not of this request, which another might survive as little."""
        self.forgot_model = forgot_model
        """It does not know a model that it offered: it was restarted."""


def open_session(settings: EngineSettings) -> aiohttp.ClientSession:
    """The connection pool to all engines."""
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
        # What an engine or a balancer before it wants remembered of one caller must not be sent for the next.
        cookie_jar=aiohttp.DummyCookieJar(),
    )


class EngineClient:
    """Everything the gateway asks of one engine."""

    def __init__(
        self,
        replica: Replica,
        session: aiohttp.ClientSession,
        kind: Kind = KINDS[EngineKind.VLLM],
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.kind = kind
        self._replica = replica
        self._session = session
        self._headers = dict(headers or {})

    async def begin_chat(self, body: bytes, request_id: str) -> ReplyStream:
        """Ask, and wait for the first chunks; the reply must be closed.

        Raises NotBegun where another replica may do better; else EngineRejected, EngineTimeout,
        EngineUnavailable.
        """
        response = await self._post("/v1/chat/completions", body, request_id)
        reply = ReplyStream(response)
        try:
            if response.status != HTTPStatus.OK:
                raise await _refusal(response)
            if not await reply.begin():
                raise NotBegun(EngineFailed(_BROKE_OFF))
        except EngineFailed as error:
            reply.break_off()
            # Without a cause it is the engine's own word, in an event.
            raise NotBegun(error, is_gone=error.__cause__ is not None) from error
        except BaseException:
            reply.break_off()
            raise
        return reply

    async def tokenize(self, body: bytes, request_id: str) -> Json:
        """The engine's own answer; raises as `begin_chat` does."""
        async with await self._post("/tokenize", body, request_id) as response:
            if response.status != HTTPStatus.OK:
                raise await _refusal(response)
            try:
                answer = json.loads(await response.read())
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                raise NotBegun(EngineFailed(_BROKE_OFF)) from error
        if not isinstance(answer, dict):
            raise EngineFailed(_BROKE_OFF)
        return answer

    async def _post(self, path: str, body: bytes, request_id: str) -> aiohttp.ClientResponse:
        headers = {**self._headers, "content-type": "application/json", "x-request-id": request_id}
        # A file, since aiohttp would write bytes of this size in one go, and warns of it.
        file = io.BytesIO(body)
        del body
        try:
            return await self._session.post(
                self._replica.url + path, data=file, headers=headers, allow_redirects=False
            )
        except aiohttp.SocketTimeoutError as error:
            raise EngineTimeout("the engine took too long to begin; try again") from error
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise NotBegun(EngineUnavailable(_UNAVAILABLE)) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NotBegun(EngineFailed(_BROKE_OFF)) from error
        finally:
            del file

    async def is_healthy(self) -> bool:
        """Whether the engine answers its health check."""
        try:
            async with self._get("/health") as response:
                return response.status == HTTPStatus.OK
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def model_parents(self) -> dict[str, str | None]:
        """Every model the engine offers, with its base model's name if it is an adapter."""
        try:
            async with self._get("/v1/models") as response:
                response.raise_for_status()
                return {card["id"]: card.get("parent") for card in (await response.json())["data"]}
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError) as error:
            raise EngineStartError(f"the engine did not list its models: {error!r}") from error

    async def load_adapter(self, name: str, path: str) -> None:
        """Load an adapter from a directory that the engine can read."""
        if self.kind.adapter_path is None:
            raise EngineStartError(f"an engine of kind {self.kind.name} loads no adapters: {name}")
        url = self._replica.url + self.kind.adapter_path
        body = {"lora_name": name, "lora_path": path}
        try:
            async with self._session.post(
                url, json=body, timeout=_LOAD_TIMEOUT, headers=self._headers
            ) as response:
                if response.status == HTTPStatus.OK:
                    return
                answer = (await response.text())[:2000]
        except (aiohttp.ClientError, TimeoutError) as error:
            raise EngineStartError(f"the engine could not load adapter {name}: {error!r}") from error
        hint = ""
        if response.status == HTTPStatus.NOT_FOUND and "lora" not in answer.lower():
            hint = " (it must run with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True)"
        raise EngineStartError(f"the engine refused adapter {name}: {response.status} {answer}{hint}")

    def _get(self, path: str) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        return self._session.get(self._replica.url + path, timeout=_CONTROL_TIMEOUT, headers=self._headers)


async def _refusal(response: aiohttp.ClientResponse) -> Exception:
    if response.status in _ELSEWHERE:
        return NotBegun(EngineUnavailable(_UNAVAILABLE))
    if response.status == HTTPStatus.NOT_FOUND:
        return NotBegun(EngineUnavailable(_UNAVAILABLE), is_gone=False, forgot_model=True)
    if response.status not in CALLERS_FAULT:
        fields = {"status": response.status, "url": str(response.url)}
        _log.error("engine_refused", extra={"fields": fields})
        return EngineUnavailable(_UNAVAILABLE)
    try:
        message, param = _told(json.loads(await response.read()))
    except (ValueError, KeyError, TypeError, AttributeError, aiohttp.ClientError, TimeoutError):
        message, param = "the engine refused the request", None
    return EngineRejected(message, status=response.status, param=param)


def _told(body: Json) -> tuple[str, str | None]:
    """Message and parameter: OpenAI's shape, the flat one of older engines, or FastAPI's `detail`."""
    error = body.get("error", body)
    if "detail" in error:
        detail = error["detail"]
        return str(detail if isinstance(detail, str) else detail[0]["msg"]), None
    return str(error["message"]), error.get("param")
