"""The wire to one OpenAI-compatible endpoint: a body goes out, a reply or a named failure comes back.

    Transient               this attempt failed, another may not: 408, 425, 429, 5xx, timeouts, broken
                            connections, and replies that are not the JSON they should be; nothing else
    TeacherRejects          this request will never succeed
    RecipeError             no request can succeed (key, address or model are wrong)

Knows nothing of roles, pace or money: who counts must be told what an attempt may have cost.
"""

import asyncio
import io
import random
import re
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self

import aiohttp

from align.errors import RecipeError
from align.records import Usage
from align.teacher.reply import (
    Reply,
    TeacherError,
    TeacherRejects,
    TeacherUnavailable,
    UnreadableBody,
    read_fault,
    read_reply,
)

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 60.0
"""A server that asks for a longer pause counts as unavailable."""
TRANSIENT_4XX = frozenset({408, 425, 429})
OVERLOADED = frozenset({429, 503, 504, 529})
HOPELESS = frozenset({401, 402, 404, 405})
"""Every request would fail the same way."""
MAX_ERROR_CHARS = 300
LARGE_BODY_BYTES = 1 << 20
"""From here on aiohttp wants a body as a file, so that sending it holds up nothing else."""
SECONDS = re.compile(r"\d+(\.\d*)?", re.ASCII)
"""`Retry-After` has whole seconds by its standard; some servers give fractions."""
JSON_HEADERS = {"Content-Type": "application/json"}


class Transient(Exception):
    """One attempt failed in a way that another may not."""

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float | None = None,
        overloaded: bool = False,
        uncertain: bool = False,
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.overloaded = overloaded
        """The server has more to do than it can."""
        self.uncertain = uncertain
        """The request went out and no whole answer came back: it may have been worked on, and be charged."""


class Client(AbstractAsyncContextManager["Client"]):
    """An open connection to one endpoint."""

    def __init__(self, base_url: str, *, timeout_s: float, api_key: str | None = None) -> None:
        self._url = f"{base_url.rstrip('/')}/chat/completions"
        self._timeout_s = timeout_s
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            headers=self._headers | JSON_HEADERS,
            timeout=aiohttp.ClientTimeout(total=self._timeout_s),
            connector=aiohttp.TCPConnector(limit=0),  # the pace says how many
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def send(self, body: bytes) -> Reply:
        """One attempt; raises what the module's table says."""
        if self._session is None:
            raise RuntimeError("enter the client's context before sending")
        data = io.BytesIO(body) if len(body) >= LARGE_BODY_BYTES else body
        try:
            async with self._session.post(self._url, data=data, allow_redirects=False) as response:
                content = await response.read()
        except TimeoutError:
            message = f"no reply within {self._timeout_s:g} s"
            raise Transient(message, overloaded=True, uncertain=True) from None
        except aiohttp.InvalidURL:
            raise RecipeError(f"{self._url} is no address of a teacher: correct base_url") from None
        except aiohttp.ClientError as error:
            sent = not isinstance(error, aiohttp.ClientConnectorError)
            message = f"the connection failed ({type(error).__name__})"
            raise Transient(message, uncertain=sent) from None
        if response.status != 200:
            return self._without_reply(response.status, content, response.headers.get("Retry-After"))
        try:
            return read_reply(content)
        except UnreadableBody as error:
            raise Transient(str(error), uncertain=True) from None

    def _without_reply(self, status: int, content: bytes, retry_after: str | None) -> Reply:
        """Raises what the status means; a filter's 400 is a reply too: that there will be none."""
        fault = read_fault(content)
        said = f"HTTP {status}: {fault.message[:MAX_ERROR_CHARS]}"
        if status in HOPELESS or status < 400 or fault.code == "insufficient_quota":
            raise RecipeError(
                f"the teacher at {self._url} cannot be used ({said}): check base_url, model and the key"
            )
        if status in TRANSIENT_4XX or status >= 500:
            raise Transient(said, retry_after_s=_seconds(retry_after), overloaded=status in OVERLOADED)
        if fault.code == "content_filter":
            nothing = Usage(prompt_tokens=0, completion_tokens=0)  # no model saw it
            return Reply("", "content_filter", nothing, fault.message[:MAX_ERROR_CHARS])
        raise TeacherRejects(said)


async def patiently(
    attempt: Callable[[], Awaitable[Reply]],
    retries: int,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Reply:
    """The reply of the first attempt that does not fail in passing; TeacherUnavailable after the last."""
    for failed in range(retries + 1):
        try:
            return await attempt()
        except Transient as error:
            asked_for, last = error.retry_after_s, error
        if failed == retries or (asked_for or 0) > LONGEST_WAIT_S:
            break
        await pause(_wait(failed, asked_for))
    raise TeacherUnavailable(f"{last} ({failed + 1} attempts)")


def _wait(failed: int, retry_after_s: float | None) -> float:
    """Seconds until the next attempt: what the server asked for, else doubling; jitter parts the crowd."""
    if retry_after_s is not None:
        return retry_after_s + random.uniform(0, FIRST_WAIT_S)
    return float(min(FIRST_WAIT_S * 2**failed, LONGEST_WAIT_S) * random.uniform(0.5, 1))


def _seconds(retry_after: str | None) -> float | None:
    """The header's two forms, seconds (with a fraction, too) and a date; None for anything else."""
    if not retry_after:
        return None
    if SECONDS.fullmatch(retry_after):
        return float(retry_after)
    try:
        due = parsedate_to_datetime(retry_after).astimezone(UTC)
    except (ValueError, OverflowError):  # no date, or one beyond the calendar
        return None
    return max(0.0, (due - datetime.now(UTC)).total_seconds())


__all__ = [
    "Client",
    "Reply",
    "TeacherError",
    "TeacherRejects",
    "TeacherUnavailable",
    "Transient",
    "patiently",
]
