"""A guard model or service behind HTTP: asks, waits, has the reply read. The panel keeps its deadline."""

import asyncio
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import aiohttp

from policies.catalog import Catalog
from serve.gate.formats import FORMATS
from serve.gate.formats.family import Ask, GuardFormat, GuardOptions, Unreadable
from serve.gate.guard import GuardFailed, GuardRefused
from serve.gate.patterns import trimmed
from serve.gate.values import PASS, Conversation, Excerpt, Ruling
from serve.options.gate import EndpointGuard

Json = dict[str, Any]

_LONGEST_REPLY: Final = 1 << 20
"""Bytes: a verdict is a line, and logprobs are a page."""
_NOBODY_THERE: Final = frozenset(
    {HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
)


def open_guard_session() -> aiohttp.ClientSession:
    """Connections to guards, apart from those to engines: nobody gets another's key."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=3),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
    )


@dataclass(frozen=True, slots=True)
class Prepared:
    """All of an endpoint guard that can be known before it is asked."""

    settings: EndpointGuard
    format: GuardFormat
    options: GuardOptions
    headers: Mapping[str, str]


def prepared(settings: EndpointGuard, catalog: Catalog) -> Prepared:
    """Raises GuardRefused where it could never judge what it is to judge."""
    format_ = FORMATS[settings.format]
    if blind := sorted({*settings.stages} - format_.stages):
        raise GuardRefused(
            f"guard {settings.name}: {settings.format} cannot judge {', '.join(blind)}: "
            f"its stages may be {', '.join(sorted(format_.stages))}"
        )
    return Prepared(
        settings,
        format_,
        GuardOptions(settings.model, _policy(settings, catalog), settings.threshold),
        {"content-type": "application/json", **_key(settings, format_.key_header)},
    )


class Endpoint:
    """One guard of the settings."""

    def __init__(self, prepared: Prepared, session: aiohttp.ClientSession) -> None:
        self.name = prepared.settings.name
        self.stages = frozenset(prepared.settings.stages)
        self._context = prepared.settings.context_chars
        self._url = prepared.settings.url.rstrip("/")
        self._format = prepared.format
        self._options = prepared.options
        self._headers = prepared.headers
        self._session = session

    async def judge(self, excerpt: Excerpt, about: Conversation) -> Ruling:
        """Raises GuardFailed."""
        asks = self._format.ask(trimmed(excerpt, self._context), about, self._options)
        replies = await self._replies(asks, about.request_id)
        try:
            verdict = self._format.read(replies, self._options)
        except Unreadable as error:
            raise GuardFailed(str(error)) from error
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise GuardFailed("its reply has a shape that nobody foresaw") from error
        if not verdict.blocks:
            return PASS
        return Ruling(blocks=True, guard=self.name, category=verdict.category)

    async def _replies(self, asks: Sequence[Ask], request_id: str) -> list[Json]:
        asking = [asyncio.create_task(self._reply(ask, request_id)) for ask in asks]
        try:
            return [await task for task in asking]
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)

    async def _reply(self, ask: Ask, request_id: str) -> Json:
        # A file, since aiohttp would write bytes of a picture's size in one go, and warns of it.
        body = io.BytesIO(json.dumps(ask.body).encode())
        headers = {**self._headers, **ask.headers, "x-request-id": request_id}
        try:
            async with self._session.post(
                self._url + ask.path, data=body, headers=headers, allow_redirects=False
            ) as response:
                if response.status != HTTPStatus.OK:
                    is_gone = response.status in _NOBODY_THERE
                    raise GuardFailed(f"it answered with status {response.status}", is_gone=is_gone)
                return _object(await _bounded(response))
        except aiohttp.ClientError as error:
            raise GuardFailed(f"it cannot be reached ({type(error).__name__})", is_gone=True) from error


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    read = bytearray()
    async for piece in response.content.iter_any():
        read += piece
        if len(read) > _LONGEST_REPLY:
            raise GuardFailed("its reply does not end")
    return bytes(read)


def _object(reply: bytes) -> Json:
    try:
        told = json.loads(reply)
    except (ValueError, RecursionError) as error:
        raise GuardFailed("its reply is not JSON") from error
    if not isinstance(told, dict):
        raise GuardFailed("its reply is no JSON object")
    return told


def _policy(options: EndpointGuard, catalog: Catalog) -> str:
    """The operator's, or one line for each policy that is served."""
    if options.policy is None:
        return "\n".join(f"{one.id} {one.title}: {one.principle.text}" for one in catalog.policies)
    try:
        return options.policy.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise GuardRefused(f"guard {options.name}: cannot read {options.policy}: {error}") from error


def _key(options: EndpointGuard, header: str) -> Json:
    if options.key_variable is None:
        return {}
    key = os.environ.get(options.key_variable)
    if not key:
        raise GuardRefused(f"guard {options.name}: its key is to be in the variable {options.key_variable}")
    return {header: f"Bearer {key}" if header == "authorization" else key}
