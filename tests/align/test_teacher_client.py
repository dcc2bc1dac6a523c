"""The teacher's client on the wire: what is retried, how long it waits, and what is final."""

from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from align.recipe import Endpoint, RecipeError
from align.records import Usage
from align.teacher.client import Reply, Sampling, Teacher, TeacherRejects, TeacherUnavailable
from tests.align.scripted_teacher import GOOD, Scripted, ScriptedTeacher

pytestmark = pytest.mark.anyio

MESSAGES: list[dict[str, Any]] = [{"role": "user", "content": "hello"}]
ENDPOINT = Endpoint(concurrency=2, timeout_s=2.0, retries=3)
SAMPLING = Sampling(model="m", temperature=0.5, max_tokens=64, seed=7)
WHOLE = Reply(GOOD, "stop", Usage(prompt_tokens=11, completion_tokens=7))


async def ask(
    *script: Scripted, endpoint: Endpoint = ENDPOINT, api_key: str | None = None
) -> tuple[Reply | Exception, ScriptedTeacher, list[float]]:
    """Ask once; gives the outcome, the server, and the waits between attempts."""
    waits: list[float] = []

    async def pause(seconds: float) -> None:
        waits.append(seconds)

    server = ScriptedTeacher(script)
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(server.serving())
        client = Teacher(url, endpoint, SAMPLING, api_key=api_key, pause=pause)
        teacher = await stack.enter_async_context(client)
        try:
            return await teacher.ask(MESSAGES), server, waits
        except (TeacherRejects, TeacherUnavailable, RecipeError) as error:
            return error, server, waits


async def test_the_request_carries_what_the_recipe_says() -> None:
    reply, server, _ = await ask(Scripted(), api_key="secret")
    assert reply == WHOLE
    assert server.history == [
        {"model": "m", "messages": MESSAGES, "temperature": 0.5, "max_tokens": 64, "seed": 7}
    ]
    assert server.headers[0]["Authorization"] == "Bearer secret"


async def test_a_429_is_asked_again_after_the_pause_the_server_wants() -> None:
    reply, server, waits = await ask(Scripted(status=429, headers={"Retry-After": "7"}), Scripted())
    assert reply == WHOLE
    assert len(server.history) == 2
    assert 7 <= waits[0] <= 7.5


async def test_a_date_in_retry_after_is_understood() -> None:
    due = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    _, _, waits = await ask(Scripted(status=503, headers={"Retry-After": due}), Scripted())
    assert 15 <= waits[0] <= 20.5


@pytest.mark.parametrize("header", ["soon", "-3", "1.5", ""])
async def test_an_unreadable_retry_after_counts_as_none(header: str) -> None:
    reply, _, waits = await ask(Scripted(status=429, headers={"Retry-After": header}), Scripted())
    assert reply == WHOLE
    assert waits[0] <= 0.5


async def test_a_pause_too_long_to_wait_for_means_unavailable() -> None:
    error, server, waits = await ask(Scripted(status=429, headers={"Retry-After": "86400"}))
    assert isinstance(error, TeacherUnavailable)
    assert (len(server.history), waits) == (1, [])


async def test_two_server_errors_then_a_reply_give_the_reply() -> None:
    reply, server, waits = await ask(Scripted(status=500), Scripted(status=502), Scripted())
    assert reply == WHOLE
    assert len(server.history) == 3
    assert 0.25 <= waits[0] <= 0.5 <= waits[1] <= 1.0


async def test_retries_are_bounded() -> None:
    error, server, waits = await ask(Scripted(status=500))
    assert isinstance(error, TeacherUnavailable)
    assert str(error) == "HTTP 500: scripted fault (4 attempts)"
    assert (len(server.history), len(waits)) == (4, 3)


async def test_a_teacher_that_hangs_is_left_after_the_timeout() -> None:
    hasty = Endpoint(concurrency=1, timeout_s=0.2, retries=1)
    error, server, _ = await ask(Scripted(hangs_s=5), endpoint=hasty)
    assert isinstance(error, TeacherUnavailable)
    assert "no reply within 0.2 s (2 attempts)" in str(error)
    assert len(server.history) == 2


@pytest.mark.parametrize(
    "broken",
    [
        Scripted(breaks=True),
        Scripted(body=b'{"choices": [{"mess'),
        Scripted(body=b"<html>busy</html>"),
        Scripted(body=b"[]"),
        Scripted(body=b'{"choices": []}'),
        Scripted(body=b'{"choices": [{"message": {"content": 5}}]}'),
    ],
)
async def test_a_broken_reply_is_asked_for_again(broken: Scripted) -> None:
    reply, server, _ = await ask(broken, Scripted())
    assert reply == WHOLE
    assert len(server.history) == 2


async def test_a_refused_connection_is_unavailable() -> None:
    async with ScriptedTeacher().serving() as url:
        pass
    hasty = Endpoint(concurrency=1, timeout_s=1.0, retries=0)
    async with Teacher(url, hasty, SAMPLING) as teacher:
        with pytest.raises(TeacherUnavailable, match="the connection failed"):
            await teacher.ask(MESSAGES)


@pytest.mark.parametrize("status", [400, 403, 413, 422])
async def test_a_rejected_request_is_not_asked_again(status: int) -> None:
    error, server, _ = await ask(Scripted(status=status))
    assert isinstance(error, TeacherRejects)
    assert str(error) == f"HTTP {status}: scripted fault"
    assert len(server.history) == 1


@pytest.mark.parametrize(
    "scripted",
    [
        Scripted(status=401),
        Scripted(status=402),
        Scripted(status=404),
        Scripted(status=302, headers={"Location": "http://127.0.0.1:9/"}),
        Scripted(status=429, code="insufficient_quota"),
    ],
)
async def test_what_would_fail_for_every_row_stops_the_run(scripted: Scripted) -> None:
    error, server, _ = await ask(scripted, api_key="secret")
    assert isinstance(error, RecipeError)
    assert "cannot be used" in str(error)
    assert "secret" not in str(error)
    assert len(server.history) == 1


@pytest.mark.parametrize(
    "usage", [None, {}, {"prompt_tokens": 1}, {"prompt_tokens": 1, "completion_tokens": -1}]
)
async def test_usage_that_says_nothing_is_none(usage: Any) -> None:
    reply, _, _ = await ask(Scripted(usage=usage))
    assert isinstance(reply, Reply)
    assert reply.usage is None


async def test_a_reply_without_content_is_empty_text() -> None:
    reply, _, _ = await ask(Scripted(body=b'{"choices": [{"message": {"content": null}}]}'))
    assert reply == Reply("", "unknown", None)
