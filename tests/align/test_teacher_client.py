"""The wire to an endpoint: what is sent, what is asked again after which wait, and what is final."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from align.errors import RecipeError
from align.records import Usage
from align.teacher.client import LONGEST_WAIT_S, Client, Transient, patiently
from align.teacher.reply import Reply, TeacherRejects, TeacherUnavailable
from align.teacher.request import Request
from tests.align.scripted_teacher import GOOD, Scripted, ScriptedTeacher

pytestmark = pytest.mark.anyio

REQUEST = Request("m", ({"role": "user", "content": "hello"},), 0.5, 64, 7)
WHOLE = Reply(GOOD, "stop", Usage(prompt_tokens=11, completion_tokens=7))


async def ask(
    *script: Scripted,
    retries: int = 3,
    timeout_s: float = 2.0,
    api_key: str | None = None,
    request: Request = REQUEST,
) -> tuple[Reply | Exception, ScriptedTeacher, list[float]]:
    """Ask once; gives the outcome, the server, and the waits between attempts."""
    waits: list[float] = []
    body = request.encoded()

    async def pause(seconds: float) -> None:
        waits.append(seconds)

    server = ScriptedTeacher(script)
    async with server.serving() as url, Client(url, timeout_s=timeout_s, api_key=api_key) as client:
        try:
            return await patiently(lambda: client.send(body), retries, pause), server, waits
        except (TeacherRejects, TeacherUnavailable, RecipeError) as error:
            return error, server, waits


async def failure(scripted: Scripted, timeout_s: float = 2.0) -> Transient:
    """What one attempt fails with."""
    async with ScriptedTeacher([scripted]).serving() as url, Client(url, timeout_s=timeout_s) as client:
        with pytest.raises(Transient) as found:
            await client.send(REQUEST.encoded())
    return found.value


async def test_the_request_carries_what_it_says_and_the_key() -> None:
    reply, server, _ = await ask(Scripted(), api_key="secret")
    assert reply == WHOLE
    assert server.history == [REQUEST.body()]
    assert server.headers[0]["Authorization"] == "Bearer secret"
    assert server.headers[0]["Content-Type"] == "application/json"


async def test_a_large_picture_is_sent_without_a_warning() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * (3 << 20)}}
    large = Request("m", ({"role": "user", "content": [picture]},), 0.0, 64, 0)
    reply, server, _ = await ask(Scripted(status=503), Scripted(), request=large)
    assert reply == WHOLE
    assert server.history == [large.body()] * 2


async def test_a_429_is_asked_again_after_the_pause_the_server_wants() -> None:
    reply, server, waits = await ask(Scripted(status=429, headers={"Retry-After": "7"}), Scripted())
    assert reply == WHOLE
    assert len(server.history) == 2
    assert 7 <= waits[0] <= 7.5


async def test_a_date_in_retry_after_is_understood() -> None:
    due = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    _, _, waits = await ask(Scripted(status=503, headers={"Retry-After": due}), Scripted())
    assert 15 <= waits[0] <= 20.5


@pytest.mark.parametrize(("header", "least"), [("1.37", 1.37), ("2.", 2.0), ("0.9", 0.9)])
async def test_a_pause_of_fractions_of_a_second_is_kept(header: str, least: float) -> None:
    reply, _, waits = await ask(Scripted(status=429, headers={"Retry-After": header}), Scripted())
    assert reply == WHOLE
    assert least <= waits[0] <= least + 0.5


async def test_a_date_that_is_past_asks_for_no_pause() -> None:
    old = "Sun, 06 Nov 1994 08:49:37 GMT"
    assert (await failure(Scripted(status=429, headers={"Retry-After": old}))).retry_after_s == 0


@pytest.mark.parametrize("header", ["1e9999", "9" * 400, "99999999999.5", "Fri, 31 Dec 9999 23:59:59 GMT"])
async def test_no_pause_that_a_server_can_ask_for_is_waited_for_beyond_the_longest(header: str) -> None:
    _, _, waits = await ask(Scripted(status=429, headers={"Retry-After": header}), retries=1)
    assert all(wait <= LONGEST_WAIT_S for wait in waits)


@pytest.mark.parametrize(
    "header",
    ["soon", "-3", "", "nan", "inf", "1e3", "1_0", "0x10", ".", "1.5.2", "Fri, 31 Dec 9999 23:59:59 -2359"],
)
async def test_an_unreadable_retry_after_counts_as_none(header: str) -> None:
    reply, _, waits = await ask(Scripted(status=429, headers={"Retry-After": header}), Scripted())
    assert reply == WHOLE
    assert waits[0] <= 0.5


async def test_the_longest_pause_is_waited_for_and_one_beyond_it_means_unavailable() -> None:
    reply, _, waits = await ask(Scripted(status=429, headers={"Retry-After": "60"}), Scripted())
    assert reply == WHOLE
    assert 60 <= waits[0] <= 60.5
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
    error, server, _ = await ask(Scripted(hangs_s=5), timeout_s=0.2, retries=1)
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
        Scripted(body=b'{"choices": [{"message": {"content": "\\ud800"}}]}'),
        Scripted(body=b'{"choices": [{"message": {"content": "\xff"}}]}'),
    ],
)
async def test_a_broken_reply_is_asked_for_again_and_may_have_been_paid_for(broken: Scripted) -> None:
    reply, server, _ = await ask(broken, Scripted())
    assert reply == WHOLE
    assert len(server.history) == 2
    assert (await failure(broken)).uncertain


async def test_a_request_without_an_answer_may_have_been_paid_for_and_one_with_an_error_was_not() -> None:
    assert (await failure(Scripted(hangs_s=5), timeout_s=0.1)).uncertain
    assert not (await failure(Scripted(status=503))).uncertain


@pytest.mark.parametrize(("status", "overloaded"), [(429, True), (503, True), (529, True), (500, False)])
async def test_overload_is_told_from_other_failures(status: int, overloaded: bool) -> None:
    assert (await failure(Scripted(status=status))).overloaded is overloaded


async def test_a_refused_connection_is_unavailable_and_costs_nothing() -> None:
    async with ScriptedTeacher().serving() as url:
        pass
    async with Client(url, timeout_s=1.0) as client:
        with pytest.raises(Transient, match="the connection failed") as found:
            await client.send(b"{}")
    assert not found.value.uncertain


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


@pytest.mark.parametrize("url", ["http://", "http://[::1"])
async def test_an_address_that_is_none_stops_the_run(url: str) -> None:
    async with Client(url, timeout_s=1.0) as client:
        with pytest.raises(RecipeError, match="correct base_url"):
            await client.send(b"{}")


async def test_a_refusal_beside_the_content_is_told() -> None:
    reply, _, _ = await ask(Scripted(text="", refusal="I can't take part in this."))
    assert isinstance(reply, Reply)
    assert (reply.text, reply.refusal) == ("", "I can't take part in this.")


async def test_a_filtered_reply_says_so_whether_it_comes_as_a_200_or_as_a_400() -> None:
    reply, _, _ = await ask(Scripted(text="", finish="content_filter"))
    assert isinstance(reply, Reply)
    assert reply.finish_reason == "content_filter"
    reply, server, _ = await ask(Scripted(status=400, code="content_filter"))
    nothing = Usage(prompt_tokens=0, completion_tokens=0)
    assert reply == Reply("", "content_filter", nothing, "scripted fault")
    assert len(server.history) == 1


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        [],
        "none",
        {"prompt_tokens": 1},
        {"prompt_tokens": 1, "completion_tokens": -1},
        {"prompt_tokens": 1, "completion_tokens": 2**53 + 1},
        {"prompt_tokens": 2**64, "completion_tokens": 1},
    ],
)
async def test_usage_that_says_nothing_is_none(usage: Any) -> None:
    reply, _, _ = await ask(Scripted(usage=usage))
    assert reply == Reply(GOOD, "stop", None)


async def test_a_reply_without_content_is_empty_text() -> None:
    reply, _, _ = await ask(Scripted(body=b'{"choices": [{"message": {"content": null}}]}'))
    assert reply == Reply("", "unknown", None)
