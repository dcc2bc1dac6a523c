"""A desk at a scripted endpoint: what is asked once, what is counted, where it stops."""

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from align.errors import RecipeError
from align.recipe_tables import Budget, Price
from align.teacher.desk import BudgetExhausted, Worker, check_keys, open_desk, together
from align.teacher.ledger import Spent
from align.teacher.reply import Reply, TeacherRejects, TeacherUnavailable
from align.teacher.store import absorb, forget_rejections
from align.teacher.store_file import StoreFailed
from tests.align.asking import STAGE, ask_all, question, recipe_at, workspace
from tests.align.scripted_teacher import Scripted, ScriptedTeacher

pytestmark = pytest.mark.anyio

ECHO = Scripted(echoes=True)
PRICES = {"lab-teacher": Price(input=100.0, output=1000.0)}
PAID = 11 * 100e-6 + 7 * 1000e-6
"""Of one scripted reply."""


def charged(directory: Path) -> list[tuple[int, int]]:
    """Tokens of each charge, and whether the server had said so."""
    with closing(sqlite3.connect(directory / "calls.sqlite")) as file:
        found = file.execute("SELECT prompt_tokens + completion_tokens, certain FROM charges").fetchall()
        return [(int(tokens), int(certain)) for tokens, certain in found]


async def test_a_reply_is_asked_for_once_over_two_runs(tmp_path: Path) -> None:
    server = ScriptedTeacher([ECHO])
    async with server.serving() as url:
        first = await ask_all(recipe_at(url), tmp_path, 20)
        again = await ask_all(recipe_at(url, concurrency=1, retries=0), tmp_path, 20)
    assert first == again
    assert len({reply.text for reply in first if isinstance(reply, Reply)}) == 20
    assert set(server.asked.values()) == {1}


async def test_it_does_not_matter_where_the_model_is(tmp_path: Path) -> None:
    server = ScriptedTeacher([ECHO])
    async with server.serving() as url, server.serving() as elsewhere:
        assert await ask_all(recipe_at(url), tmp_path, 3) == await ask_all(recipe_at(elsewhere), tmp_path, 3)
    assert len(server.history) == 3


async def test_the_same_asked_at_once_is_one_call(tmp_path: Path) -> None:
    server = ScriptedTeacher([Scripted(hangs_s=0.05)])
    async with server.serving() as url, open_desk(workspace(recipe_at(url), tmp_path), stage=STAGE) as desk:
        teacher = desk.role("teacher")
        replies = await asyncio.gather(*(teacher.ask(question(1)) for _ in range(10)))
        assert len(set(replies)) == 1
        assert (desk.tally.calls, desk.tally.hits) == (1, 9)
    assert len(server.history) == 1


async def test_a_seed_makes_another_request(tmp_path: Path) -> None:
    server = ScriptedTeacher()
    async with server.serving() as url, open_desk(workspace(recipe_at(url), tmp_path), stage=STAGE) as desk:
        for seed in (1, 2, 1):
            await desk.role("teacher").ask(question(1), seed=seed)
    assert [body["seed"] for body in server.history] == [1, 2]


@pytest.mark.parametrize(
    ("structured", "form"),
    [
        (
            "json_schema",
            {
                "type": "json_schema",
                "json_schema": {"name": "reply", "schema": {"type": "object"}, "strict": True},
            },
        ),
        ("json_object", {"type": "json_object"}),
        ("none", None),
    ],
)
async def test_a_schema_is_asked_for_in_the_way_the_endpoint_takes_it(
    structured: str, form: Any, tmp_path: Path
) -> None:
    server = ScriptedTeacher()
    async with server.serving() as url:
        recipe = recipe_at(url, teacher={"structured": structured, "extra_body": {"top_p": 0.9}})
        async with open_desk(workspace(recipe, tmp_path), stage=STAGE) as desk:
            teacher = desk.role("teacher")
            await teacher.ask(question(1), schema={"type": "object"})
            await teacher.ask(question(2))
    assert [body.get("response_format") for body in server.history] == [form, None]
    assert [body["top_p"] for body in server.history] == [0.9, 0.9]


async def test_no_more_than_the_recipe_says_are_in_flight(tmp_path: Path) -> None:
    server = ScriptedTeacher([Scripted(hangs_s=0.01)])
    async with server.serving() as url:
        await ask_all(recipe_at(url, concurrency=5), tmp_path, 40)
    assert server.most_in_flight == 5


async def test_retry_after_pauses_the_whole_endpoint(tmp_path: Path) -> None:
    server = ScriptedTeacher([Scripted(status=429, headers={"Retry-After": "1"}), Scripted()])
    async with server.serving() as url:
        replies = await ask_all(recipe_at(url, concurrency=1), tmp_path, 5)
    assert all(isinstance(reply, Reply) for reply in replies)
    gaps = [later - earlier for earlier, later in zip(server.arrivals, server.arrivals[1:], strict=False)]
    assert gaps[0] >= 0.99
    assert len(gaps) == 5


async def test_a_rejection_is_remembered_until_its_stage_is_asked_for_anew(tmp_path: Path) -> None:
    server = ScriptedTeacher([Scripted(status=400), Scripted()])
    async with server.serving() as url:
        recipe = recipe_at(url)
        for _ in range(2):
            (error,) = await ask_all(recipe, tmp_path, 1)
            assert isinstance(error, TeacherRejects)
        assert len(server.history) == 1
        forget_rejections(tmp_path, STAGE)
        (reply,) = await ask_all(recipe, tmp_path, 1)
        assert isinstance(reply, Reply)
    assert charged(tmp_path) == [(18, 1)]


async def test_what_was_unavailable_is_asked_for_again(tmp_path: Path) -> None:
    server = ScriptedTeacher([Scripted(status=500), Scripted()])
    async with server.serving() as url:
        (error,) = await ask_all(recipe_at(url, retries=0), tmp_path, 1)
        assert isinstance(error, TeacherUnavailable)
        (reply,) = await ask_all(recipe_at(url, retries=0), tmp_path, 1)
        assert isinstance(reply, Reply)


async def test_a_wrong_key_stops_the_run(tmp_path: Path) -> None:
    async with ScriptedTeacher([Scripted(status=401)]).serving() as url:
        with pytest.raises(RecipeError, match="HTTP 401"):
            await ask_all(recipe_at(url), tmp_path, 3)
    assert charged(tmp_path) == []


async def test_an_attempt_under_way_is_kept_though_nobody_waits_for_it_any_more(tmp_path: Path) -> None:
    server = ScriptedTeacher([Scripted(hangs_s=0.5)])
    async with server.serving() as url:
        recipe = recipe_at(url, concurrency=2)
        asking = asyncio.create_task(ask_all(recipe, tmp_path, 6))
        while len(server.history) < 2:
            await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert len(server.history) == 2
        await ask_all(recipe, tmp_path, 6)
    assert set(server.asked.values()) == {1}


async def test_everything_is_tallied_by_role(tmp_path: Path) -> None:
    script = [Scripted(status=500), Scripted(body=b"{"), Scripted(), Scripted(usage=None), Scripted()]
    async with ScriptedTeacher(script).serving() as url:
        recipe = recipe_at(url, prices=PRICES, concurrency=1)
        async with open_desk(workspace(recipe, tmp_path), stage=STAGE) as desk:
            teacher, scorer = desk.role("teacher"), desk.role("scorer")
            await teacher.ask(question(1))
            assert desk.tally.as_line().startswith("1 calls, 0 hits, 2 retries, 1.1 k tokens, 1.0")
            await teacher.ask(question(1))
            await teacher.ask(question(2))
            await scorer.ask(question(1))
            calls = desk.tally.summary()
            assert desk.tally.money is None
            assert desk.tally.as_line().endswith(" tokens, not priced")
    worst = 1024 + 16 + 4
    assert calls.model_dump() == {
        "calls": 3,
        "hits": 1,
        "retries": 2,
        "rejected": 0,
        "unavailable": 0,
        "estimated": 2,
        "prompt_tokens": 20 + 11 + 20 + 11,
        "completion_tokens": 1024 + 7 + 1024 + 7,
        "money": None,
        "currency": "USD",
        "by_role": {
            "teacher": {
                "calls": 2,
                "hits": 1,
                "retries": 2,
                "rejected": 0,
                "unavailable": 0,
                "estimated": 2,
                "prompt_tokens": 20 + 11 + 20,
                "completion_tokens": 1024 + 7 + 1024,
                "money": pytest.approx(2 * (20 * 100e-6 + 1024 * 1000e-6) + PAID),
            },
            "scorer": {
                "calls": 1,
                "hits": 0,
                "retries": 0,
                "rejected": 0,
                "unavailable": 0,
                "estimated": 0,
                "prompt_tokens": 11,
                "completion_tokens": 7,
                "money": None,
            },
        },
        "seconds": calls.seconds,
    }
    assert sorted(charged(tmp_path)) == [(18, 1), (18, 1), (worst, 0), (worst, 0)]


async def test_rejected_and_unavailable_calls_are_told_apart(tmp_path: Path) -> None:
    script = [Scripted(status=400), Scripted(status=500)]
    async with ScriptedTeacher(script).serving() as url:
        recipe = recipe_at(url, concurrency=1, retries=1)
        async with open_desk(workspace(recipe, tmp_path), stage=STAGE) as desk:
            teacher = desk.role("teacher")
            for number, expected in ((1, TeacherRejects), (1, TeacherRejects), (2, TeacherUnavailable)):
                with pytest.raises(expected):
                    await teacher.ask(question(number))
            calls = desk.tally.summary()
    assert (calls.calls, calls.hits, calls.retries) == (2, 1, 1)
    assert (calls.rejected, calls.unavailable, calls.estimated) == (2, 1, 0)


async def test_what_workers_asked_adds_up(tmp_path: Path) -> None:
    async with ScriptedTeacher().serving() as url:
        recipe = recipe_at(url, prices=PRICES)
        async with open_desk(workspace(recipe, tmp_path), stage=STAGE) as desk:
            await desk.role("teacher").ask(question(1))
            one = desk.tally.summary()
            await desk.role("teacher").ask(question(1))
            two = desk.tally.summary()
    both = together([one, two])
    assert (both.calls, both.hits, both.prompt_tokens) == (2, 1, 22)
    assert both.money == both.by_role["teacher"].money == pytest.approx(2 * PAID)
    assert both.seconds == two.seconds


async def test_a_token_budget_holds_over_all_attempts_at_a_run(tmp_path: Path) -> None:
    server = ScriptedTeacher()
    async with server.serving() as url:
        recipe = recipe_at(url, budget=Budget(tokens=1500), concurrency=1)
        # The worst case of a call is about 1,044 tokens, a reply takes 18: 26 replies leave no room.
        with pytest.raises(BudgetExhausted, match=r"of 1,500 tokens are spent.*raise budget.tokens"):
            await ask_all(recipe, tmp_path, 100, at_once=4)
        first = len(server.history)
        assert first == (1500 - 1044) // 18 + 1
        with pytest.raises(BudgetExhausted):
            await ask_all(recipe, tmp_path, 100, at_once=4)
        assert len(server.history) == first
        more = recipe_at(url, budget=Budget(tokens=4000), concurrency=1)
        await ask_all(more, tmp_path, 100, at_once=4)
    assert len(server.history) == 100
    assert set(server.asked.values()) == {1}


async def test_a_money_budget_is_never_passed_whatever_is_in_flight(tmp_path: Path) -> None:
    server = ScriptedTeacher([Scripted(hangs_s=0.01)])
    limit = 2.0
    async with server.serving() as url:
        recipe = recipe_at(url, budget=Budget(money=limit), prices=PRICES, concurrency=16)
        with pytest.raises(BudgetExhausted, match=r"of 2.00 USD are spent.*raise budget.money"):
            await ask_all(recipe, tmp_path, 1000, at_once=32)
        async with open_desk(workspace(recipe, tmp_path), stage=STAGE) as desk:
            spent = desk.tally.spent
    assert spent.money is not None
    assert limit - 1.1 < spent.money <= limit
    assert spent == Spent(18 * len(server.history), pytest.approx(PAID * len(server.history)))


async def test_attempts_without_an_answer_use_up_the_budget(tmp_path: Path) -> None:
    server = ScriptedTeacher([Scripted(body=b'{"choices": [{"mess')])
    async with server.serving() as url:
        recipe = recipe_at(url, budget=Budget(tokens=2500), retries=9, concurrency=1)
        with pytest.raises(BudgetExhausted, match="2,088 of 2,500 tokens are spent"):
            await ask_all(recipe, tmp_path, 1)
    assert len(server.history) == 2
    assert charged(tmp_path) == [(1044, 0), (1044, 0)]


async def test_errors_do_not_use_up_the_budget(tmp_path: Path) -> None:
    server = ScriptedTeacher([Scripted(status=503), Scripted(status=500), Scripted()])
    async with server.serving() as url:
        recipe = recipe_at(url, budget=Budget(tokens=1100))
        assert isinstance((await ask_all(recipe, tmp_path, 1))[0], Reply)
    assert charged(tmp_path) == [(18, 1)]


async def test_pictures_are_reserved_at_the_roles_estimate(tmp_path: Path) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}
    asked = [{"role": "user", "content": [picture, {"type": "text", "text": "what is it?"}]}]
    server = ScriptedTeacher()
    async with server.serving() as url:
        recipe = recipe_at(url, budget=Budget(tokens=1100), teacher={"image_tokens": 500})
        async with open_desk(workspace(recipe, tmp_path), stage=STAGE) as desk:
            with pytest.raises(BudgetExhausted, match="could take up to 1,544"):
                await desk.role("teacher").ask(asked)
    assert server.history == []


async def test_workers_share_the_budget_and_their_replies_are_the_runs(tmp_path: Path) -> None:
    server = ScriptedTeacher([Scripted(hangs_s=0.005)])
    async with server.serving() as url:
        recipe = recipe_at(url, budget=Budget(tokens=4000), concurrency=4)

        async def work() -> int:
            with pytest.raises(BudgetExhausted, match=r"this worker's part of the budget \(1 of 2\)"):
                await ask_all(recipe, tmp_path, 200, at_once=4, worker=Worker(of=2))
            return 0

        await asyncio.gather(work(), work())
        assert server.most_in_flight <= 4
        asked = len(server.history)
        absorb(tmp_path)
        assert sum(tokens for tokens, _ in charged(tmp_path)) == 18 * asked <= 4000
        richer = recipe_at(url, budget=Budget(tokens=9000), concurrency=4)
        first = (await ask_all(richer, tmp_path, asked // 2))[0]
        assert isinstance(first, Reply)
        assert len(server.history) == asked


async def test_when_replies_can_no_longer_be_kept_the_stage_ends_and_pays_for_no_more(tmp_path: Path) -> None:
    server = ScriptedTeacher([Scripted(text="x" * 20_000, hangs_s=0.01, echoes=True)])
    async with server.serving() as url, asyncio.timeout(10):
        recipe = recipe_at(url, concurrency=4)
        async with open_desk(workspace(recipe, tmp_path), stage=STAGE) as desk:
            teacher = desk.role("teacher")
            await teacher.ask(question(0))
            desk._books.store._file.execute("PRAGMA max_page_count = 10")
            asks = (teacher.ask(question(number)) for number in range(1, 100))
            found = await asyncio.gather(*asks, return_exceptions=True)
    assert {type(error) for error in found} == {StoreFailed}
    assert len(server.history) <= 9


async def test_a_role_that_the_recipe_does_not_name_is_an_error_that_says_so(tmp_path: Path) -> None:
    async with open_desk(workspace(recipe_at("http://127.0.0.1:9/v1"), tmp_path), stage=STAGE) as desk:
        assert desk.role("miner:lab-timid").role.model == "lab-timid"
        assert desk.role("teacher") is desk.role("teacher")
        with pytest.raises(RecipeError, match=r"no roles.judge: add it; there is describer, "):
            desk.role("judge")


async def test_the_key_comes_from_the_environment_and_is_asked_for_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = ScriptedTeacher()
    async with server.serving() as url:
        recipe = recipe_at(url, api_key_env="LAB_KEY")
        for wrong in (None, " ", "two\nlines", "clé"):
            monkeypatch.delenv("LAB_KEY", raising=False)
            if wrong is not None:
                monkeypatch.setenv("LAB_KEY", wrong)
            with pytest.raises(
                RecipeError, match=r"endpoints.lab takes its key from LAB_KEY, which is not set"
            ):
                check_keys(recipe)
        monkeypatch.setenv("LAB_KEY", "secret\n")
        check_keys(recipe)
        await ask_all(recipe, tmp_path, 1)
    assert server.headers[0]["Authorization"] == "Bearer secret"


def test_lines_are_short() -> None:
    from align.teacher.tally import Counts, Tally

    counts = Counts(money=3.414, calls=4211, hits=120, retries=3, prompt_tokens=1_150_000)
    tally = Tally("USD", lambda: Spent(0, 0.0), {"teacher": counts})
    assert tally.as_line() == "4,211 calls, 120 hits, 3 retries, 1.1 M tokens, 3.41 USD"
    tally.by_role = {"teacher": replace(counts, money=0.0001, prompt_tokens=999)}
    assert tally.as_line().endswith(" 999 tokens, under 0.01 USD")
    tally.by_role = {"teacher": replace(counts, money=None)}
    assert tally.as_line().endswith(", not priced")
