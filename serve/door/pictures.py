"""Pictures as the engine gets them, from wherever the caller's are, and kept for when they come again.

The cache is keyed by what the bytes are, never by where they came from: a URL is fetched each time, under
the rules of that time, and two pictures cannot pass for one another.
"""

import asyncio
import base64
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from prometheus_client import Counter

from serve.door.fetch import Fetcher
from serve.door.media import PNG_URL, PictureLimits, decode_data_url, is_data_url, redraw
from serve.options.door import LimitSettings

_DRAWN_AT_ONCE: Final = 4
"""A phone's photo of 12 megapixels takes some 200 MiB while it is drawn."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a request."""

    digest: str
    """SHA-256 of what the caller sent, in hexadecimal digits."""
    url: str
    """The PNG that the engine gets, as a data: URL."""

    @property
    def png(self) -> bytes:
        """The same PNG as bytes, for guards."""
        return base64.b64decode(self.url[len(PNG_URL) :])


class PictureCache:
    """Pictures drawn anew, by the digest of their source; the longest unused go first."""

    def __init__(self, most_bytes: int, outcomes: Counter) -> None:
        """`most_bytes`: of what is kept; 0 keeps nothing."""
        self._most_bytes = most_bytes
        self._outcomes = outcomes
        self._bytes = 0
        self._urls: OrderedDict[str, str] = OrderedDict()

    async def get_or(self, digest: str, make: Callable[[], Awaitable[str]]) -> str:
        """What is kept under the digest, or what `make` makes; a failure of it is not kept."""
        known = self._urls.get(digest)
        self._outcomes.labels("miss" if known is None else "hit").inc()
        if known is not None:
            self._urls.move_to_end(digest)
            return known
        made = await make()
        self._keep(digest, made)
        return made

    def _keep(self, digest: str, url: str) -> None:
        if len(url) > self._most_bytes or digest in self._urls:
            return
        self._urls[digest] = url
        self._bytes += len(url)
        while self._bytes > self._most_bytes:
            _, oldest = self._urls.popitem(last=False)
            self._bytes -= len(oldest)


class Pictures:
    """Makes pictures of the URLs that callers send."""

    def __init__(
        self, limits: LimitSettings, cache: PictureCache | None = None, fetcher: Fetcher | None = None
    ) -> None:
        """Without a fetcher, data: URLs only; without a cache, each is drawn each time."""
        self._limits = PictureLimits.of(limits)
        self._cache = cache
        self._fetcher = fetcher
        self._free = asyncio.Semaphore(_DRAWN_AT_ONCE)

    async def admit(self, url: str, where: str) -> Picture:
        """Raises InvalidImage and ImageUnavailable, both naming `where`."""
        if self._fetcher is None or is_data_url(url):
            data = await asyncio.to_thread(decode_data_url, url, self._limits, where)
        else:
            data = await self._fetcher.fetch(url, where)
        digest = await asyncio.to_thread(_digest, data)

        async def draw() -> str:
            async with self._free:
                return await asyncio.to_thread(redraw, data, self._limits, where)

        return Picture(digest, await (self._cache.get_or(digest, draw) if self._cache else draw()))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
