"""The client of a teacher: any OpenAI-compatible endpoint, asked with bounded retries.

    TeacherError
    + TeacherRejects        this request will never succeed; the row is dropped
    + TeacherUnavailable    transient errors outlasted the retries; the row may be asked again later
    RecipeError             no request can succeed (key, address or model are wrong); the run stops

Retried are 408, 425, 429, 5xx, timeouts, broken connections and replies that are not the JSON they
should be; nothing else. Knows nothing of queries, policies or the grammar.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self

import aiohttp
from pydantic import BaseModel, Field, ValidationError

from align.recipe import Endpoint, RecipeError
from align.records import Usage

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 60.0
"""A server that asks for a longer pause counts as unavailable."""
TRANSIENT_4XX = frozenset({408, 425, 429})
HOPELESS = frozenset({401, 402, 404, 405})
"""Every row would fail the same way."""
MAX_ERROR_CHARS = 300

Pause = Callable[[float], Awaitable[None]]


class TeacherError(Exception):
    """A row that the teacher gave no reply for."""


class TeacherRejects(TeacherError):
    """The teacher's server will never answer this request."""


class TeacherUnavailable(TeacherError):
    """The teacher did not answer this time."""


class _Transient(Exception):
    """One attempt failed in a way that another may not."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the teacher is to generate."""

    model: str
    temperature: float
    max_tokens: int
    seed: int


@dataclass(frozen=True, slots=True)
class Reply:
    """What the teacher wrote; the text may be empty."""

    text: str
    finish_reason: str
    usage: Usage | None


class Teacher(AbstractAsyncContextManager["Teacher"]):
    """An open connection to one endpoint."""

    def __init__(
        self,
        base_url: str,
        endpoint: Endpoint,
        sampling: Sampling,
        *,
        api_key: str | None = None,
        pause: Pause = asyncio.sleep,
    ) -> None:
        self._url = f"{base_url.rstrip('/')}/chat/completions"
        self._endpoint = endpoint
        self._sampling = sampling
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._pause = pause
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            headers=self._headers,
            timeout=aiohttp.ClientTimeout(total=self._endpoint.timeout_s),
            connector=aiohttp.TCPConnector(limit=self._endpoint.concurrency),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def ask(self, messages: Sequence[dict[str, Any]]) -> Reply:
        """One reply; raises what the module's tree says."""
        body = {
            "model": self._sampling.model,
            "messages": list(messages),
            "temperature": self._sampling.temperature,
            "max_tokens": self._sampling.max_tokens,
            "seed": self._sampling.seed,
        }
        attempt = 0
        while True:
            try:
                return await self._attempt(body)
            except _Transient as error:
                wait = _wait(attempt, error.retry_after_s)
                if attempt >= self._endpoint.retries or wait > LONGEST_WAIT_S:
                    raise TeacherUnavailable(f"{error} ({attempt + 1} attempts)") from None
            attempt += 1
            await self._pause(wait)

    async def _attempt(self, body: dict[str, Any]) -> Reply:
        if self._session is None:
            raise RuntimeError("enter the teacher's context before asking")
        try:
            async with self._session.post(self._url, json=body, allow_redirects=False) as response:
                content = await response.read()
                if response.status != 200:
                    raise self._failure(response.status, content, response.headers.get("Retry-After"))
        except TimeoutError:
            raise _Transient(f"no reply within {self._endpoint.timeout_s:g} s") from None
        except aiohttp.ClientError as error:
            raise _Transient(f"the connection failed ({type(error).__name__})") from None
        return _reply(content)

    def _failure(self, status: int, content: bytes, retry_after: str | None) -> Exception:
        fault = _fault(content)
        said = f"HTTP {status}: {fault.message[:MAX_ERROR_CHARS]}"
        if status in HOPELESS or status < 400 or fault.code == "insufficient_quota":
            return RecipeError(
                f"the teacher at {self._url} cannot be used ({said}): check base_url, model and the key"
            )
        if status in TRANSIENT_4XX or status >= 500:
            return _Transient(said, _seconds(retry_after))
        return TeacherRejects(said)


def _wait(attempt: int, retry_after_s: float | None) -> float:
    """Seconds until the next attempt: what the server asked for, else doubling; jitter parts the crowd."""
    if retry_after_s is not None:
        return retry_after_s + random.uniform(0, FIRST_WAIT_S)
    return float(min(FIRST_WAIT_S * 2**attempt, LONGEST_WAIT_S) * random.uniform(0.5, 1))


def _seconds(retry_after: str | None) -> float | None:
    """The header's two forms, seconds and a date; None for anything else."""
    if not retry_after:
        return None
    if retry_after.isdecimal():
        return float(retry_after)
    try:
        due = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, (due.astimezone(UTC) - datetime.now(UTC)).total_seconds())


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Completion(BaseModel):
    """The part of OpenAI's body that is read; servers add fields of their own."""

    choices: list[_Choice] = Field(min_length=1)
    usage: dict[str, Any] | None = None


class _Fault(BaseModel):
    message: str = "no reason given"
    code: str | int | None = None


class _ErrorBody(BaseModel):
    error: _Fault = _Fault()


def _reply(content: bytes) -> Reply:
    try:
        completion = _Completion.model_validate_json(content)
    except ValidationError:
        raise _Transient("the reply is not a chat completion in JSON") from None
    choice = completion.choices[0]
    return Reply(choice.message.content or "", choice.finish_reason or "unknown", _usage(completion.usage))


def _usage(found: dict[str, Any] | None) -> Usage | None:
    try:
        return Usage(**{name: (found or {})[name] for name in Usage.model_fields})
    except (KeyError, ValidationError):
        return None


def _fault(content: bytes) -> _Fault:
    try:
        return _ErrorBody.model_validate_json(content).error
    except ValidationError:
        return _Fault()
