"""One picture from an allowed host, by hops that are each checked, in bytes that are counted as they come.

The caller names the URL, so nothing of it is trusted: host and port must be on the operator's list, at every
hop; addresses must be public (`serve.door.resolver`); nothing of ours goes along (no cookie, proxy, key).
Whatever fails, the caller is told one thing, so that nobody can map a network by asking.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Literal

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.resolver import DefaultResolver
from prometheus_client import Counter
from yarl import URL

from serve.door.resolver import AddressRefused, IsPublic, PublicResolver, is_public, public_sockets
from serve.errors import ImageUnavailable
from serve.options.door import ImageSettings

_MOST_HOPS = 3
_AT_ONCE = 16
"""Fetches under way in a worker: so many times `image_bytes` are held."""
_LONGEST_URL = 8192
_PIECE_BYTES = 64 * 1024
_REDIRECTS = frozenset({
    HTTPStatus.MOVED_PERMANENTLY,
    HTTPStatus.FOUND,
    HTTPStatus.SEE_OTHER,
    HTTPStatus.TEMPORARY_REDIRECT,
    HTTPStatus.PERMANENT_REDIRECT,
})  # fmt: skip
_HEADERS = {
    "accept": "image/png, image/jpeg, image/webp",
    "accept-encoding": "identity",
    "user-agent": "groundrule",
}

Outcome = Literal["fetched", "not_allowed", "not_public", "too_large", "failed", "late"]


class _NotFetched(Exception):
    """Why not: for the metrics, never for the caller."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome


class Fetcher:
    """Fetches pictures by URL."""

    def __init__(
        self, settings: ImageSettings, most_bytes: int, session: aiohttp.ClientSession, outcomes: Counter
    ) -> None:
        """`most_bytes`: of one picture. For `open_fetcher`."""
        self._settings = settings
        self._most_bytes = most_bytes
        self._session = session
        self._outcomes = outcomes
        self._free = asyncio.Semaphore(_AT_ONCE)

    async def fetch(self, url: str, where: str) -> bytes:
        """The bytes at the URL, whatever they are. Raises ImageUnavailable, which names `where` alone."""
        outcome: Outcome = "failed"
        try:
            async with asyncio.timeout(self._settings.fetch_s), self._free:
                data = await self._follow(url)
            outcome = "fetched"
            return data
        except _NotFetched as error:
            outcome = error.outcome
            raise _unavailable(where) from error
        except TimeoutError as error:
            outcome = "late"
            raise _unavailable(where) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            outcome = "not_public" if _is_refusal(error) else "failed"
            raise _unavailable(where) from error
        finally:
            self._outcomes.labels(outcome).inc()

    async def _follow(self, url: str) -> bytes:
        target = URL(url if len(url) <= _LONGEST_URL else "")
        for _ in range(_MOST_HOPS + 1):
            self._check(target)
            async with self._session.get(target, headers=_HEADERS, allow_redirects=False) as response:
                if response.status in _REDIRECTS:
                    target = target.join(URL(response.headers.get("location", "")))
                    continue
                if response.status != HTTPStatus.OK or "content-encoding" in response.headers:
                    raise _NotFetched("failed")
                return await self._read(response)
        raise _NotFetched("failed")

    def _check(self, target: URL) -> None:
        schemes = ("https", "http") if self._settings.allow_http else ("https",)
        host = target.raw_host
        plain = target.scheme in schemes and host and target.raw_user is None and target.raw_password is None
        if not plain or not _is_allowed(str(host), target, self._settings.allowed_hosts):
            raise _NotFetched("not_allowed")

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        if (response.content_length or 0) > self._most_bytes:
            raise _NotFetched("too_large")
        data = bytearray()
        async for piece in response.content.iter_chunked(_PIECE_BYTES):
            data += piece
            if len(data) > self._most_bytes:
                raise _NotFetched("too_large")
        return bytes(data)


@asynccontextmanager
async def open_fetcher(
    settings: ImageSettings,
    most_bytes: int,
    outcomes: Counter,
    *,
    resolver: AbstractResolver | None = None,
    is_public: IsPublic = is_public,
) -> AsyncIterator[Fetcher]:
    """A fetcher with connections of its own; tests hand in names and addresses."""
    names = PublicResolver(resolver or DefaultResolver(), is_public)
    connector = aiohttp.TCPConnector(
        resolver=names,
        socket_factory=public_sockets(is_public),
        # Each hop is resolved once and dialled by what came of it; nothing is kept for the next.
        use_dns_cache=False,
        force_close=True,
        limit=_AT_ONCE,
    )
    session = aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        trust_env=False,
        auto_decompress=False,
    )
    try:
        async with session:
            yield Fetcher(settings, most_bytes, session, outcomes)
    finally:
        await names.close()


def _is_allowed(host: str, target: URL, allowed: Sequence[str]) -> bool:
    return any(_fits(pattern, host.lower(), target) for pattern in allowed)


def _fits(pattern: str, host: str, target: URL) -> bool:
    name, _, port = pattern.partition(":")
    if target.port != int(port) if port else not target.is_default_port():
        return False
    return host == name if name[:2] != "*." else host.endswith(name[1:]) and len(host) > len(name) - 1


def _is_refusal(error: BaseException) -> bool:
    """Whether the bars of `serve.door.resolver` held, however deep that lies."""
    causes: list[BaseException | None] = [error, error.__cause__, getattr(error, "os_error", None)]
    return any(isinstance(cause, AddressRefused) for cause in causes)


def _unavailable(where: str) -> ImageUnavailable:
    return ImageUnavailable(f"{where}: the picture could not be fetched; send it as a data: URL", param=where)
