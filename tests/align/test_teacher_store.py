"""Replies and charges on the disk: kept once, found again, merged, and what happens where that fails."""

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from align.errors import RecipeError
from align.records import Usage
from align.teacher import store_file
from align.teacher.ledger import Charge, Spending
from align.teacher.reply import Reply, TeacherRejects
from align.teacher.store import Store, absorb, forget_rejections, open_store, spending_of_run
from align.teacher.store_file import StoreFailed
from align.teacher.worker import Worker

pytestmark = pytest.mark.anyio

REPLY = Reply("a text\0with ☃", "stop", Usage(prompt_tokens=11, completion_tokens=7), None)
CHARGE = Charge("run-1", "key-1", "teacher", "m", 11, 7, 0.5, True)
ALONE = Worker()
TWO = Worker(of=2)


def charge(number: int) -> Charge:
    return replace(CHARGE, id=f"run-{number}", key=f"key-{number}")


def charges(directory: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(directory / "calls.sqlite")) as file:
        return file.execute("SELECT id, prompt_tokens, certain FROM charges ORDER BY id").fetchall()


@pytest.mark.parametrize(
    "reply",
    [
        REPLY,
        Reply("", "length", None, None),
        Reply("", "content_filter", None, "I can't take part in this."),
    ],
)
async def test_a_kept_reply_is_found_as_it_was(reply: Reply, tmp_path: Path) -> None:
    async with open_store(tmp_path, "score", ALONE) as store:
        assert store.find("key-1") is None
        await store.keep(reply, CHARGE)
        assert store.find("key-1") == reply
    async with open_store(tmp_path, "score", ALONE) as store:
        assert store.find("key-1") == reply


async def test_once_keep_returns_the_reply_is_in_the_file(tmp_path: Path) -> None:
    async with open_store(tmp_path, "score", ALONE) as store:
        await asyncio.gather(*(store.keep(REPLY, charge(number)) for number in range(50)))
        with closing(sqlite3.connect(tmp_path / "calls.sqlite")) as other:
            assert other.execute("SELECT count(*) FROM replies").fetchone() == (50,)
            assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)


async def test_a_rejection_is_remembered_until_its_stage_forgets_it(tmp_path: Path) -> None:
    async with open_store(tmp_path, "score", ALONE) as store:
        store.note(CHARGE)
        await store.keep_rejection("HTTP 400: no", CHARGE)
        with pytest.raises(TeacherRejects, match="HTTP 400: no"):
            store.find("key-1")
    assert charges(tmp_path) == []
    forget_rejections(tmp_path, "mine")
    async with open_store(tmp_path, "score", ALONE) as store:
        with pytest.raises(TeacherRejects):
            store.find("key-1")
    forget_rejections(tmp_path, "score")
    async with open_store(tmp_path, "score", ALONE) as store:
        assert store.find("key-1") is None


async def test_forgetting_where_nothing_was_kept_makes_no_file(tmp_path: Path) -> None:
    forget_rejections(tmp_path, "score")
    absorb(tmp_path)
    assert list(tmp_path.iterdir()) == []


async def test_a_charge_is_written_before_its_reply_and_corrected_by_it(tmp_path: Path) -> None:
    worst = replace(CHARGE, prompt_tokens=500, certain=False)
    async with open_store(tmp_path, "score", ALONE) as store:
        store.note(worst)
        store.note(replace(worst, id="run-2"))
        store.note(replace(worst, id="run-3"))
        await asyncio.sleep(0.2)
        assert charges(tmp_path) == [("run-1", 500, 0), ("run-2", 500, 0), ("run-3", 500, 0)]
        store.cancel(replace(worst, id="run-2"))
        await store.keep(REPLY, CHARGE)
    assert charges(tmp_path) == [("run-1", 11, 1), ("run-3", 500, 0)]


async def test_spending_is_added_up_by_model_and_what_had_no_price_apart(tmp_path: Path) -> None:
    unpriced = replace(CHARGE, model="n", money=None)
    async with open_store(tmp_path, "score", ALONE) as store:
        store.note(CHARGE)
        store.note(replace(CHARGE, id="2"))
        store.note(replace(CHARGE, id="3", money=None))
        store.note(replace(unpriced, id="4"))
    async with open_store(tmp_path, "mine", ALONE) as store:
        assert sorted(store.spending(), key=str) == [
            Spending("m", 11, 7, None),
            Spending("m", 22, 14, 1.0),
            Spending("n", 11, 7, None),
        ]


async def test_workers_write_files_of_their_own_and_read_the_runs(tmp_path: Path) -> None:
    async with open_store(tmp_path, "score", ALONE) as store:
        await store.keep(REPLY, charge(0))
    async with open_store(tmp_path, "score", TWO) as one, open_store(tmp_path, "score", TWO) as other:
        await one.keep(REPLY, charge(1))
        await other.keep(REPLY, charge(2))
        assert [one.find(f"key-{number}") for number in range(3)] == [REPLY, REPLY, None]
        assert [other.find(f"key-{number}") for number in range(3)] == [REPLY, None, REPLY]
        assert one.spending() == one.spending_of_others() == [Spending("m", 11, 7, 0.5)]
        with pytest.raises(RecipeError, match=r"worker-0.sqlite is in use: a worker of an earlier run"):
            async with open_store(tmp_path, "score", TWO):
                pass
    absorb(tmp_path)
    assert list((tmp_path / "calls").glob("*.sqlite*")) == []
    assert [row[0] for row in charges(tmp_path)] == ["run-0", "run-1", "run-2"]
    async with open_store(tmp_path, "mine", ALONE) as store:
        assert [store.find(f"key-{number}") for number in range(3)] == [REPLY] * 3


async def test_who_takes_a_dead_workers_place_goes_on_with_its_file(tmp_path: Path) -> None:
    async with open_store(tmp_path, "score", TWO) as store:
        await store.keep(REPLY, CHARGE)
    async with open_store(tmp_path, "score", TWO) as store:
        assert store.find("key-1") == REPLY
        assert store.spending() == [Spending("m", 11, 7, 0.5)]


async def test_absorbing_twice_counts_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_store(tmp_path, "score", TWO) as store:
        await store.keep(REPLY, CHARGE)
    with monkeypatch.context() as killed:
        # As if the process ended between the commit and the removal.
        killed.setattr(store_file.Path, "unlink", lambda *_, **__: None)
        absorb(tmp_path)
    assert (tmp_path / "calls" / "worker-0.sqlite").exists()
    absorb(tmp_path)
    assert not (tmp_path / "calls" / "worker-0.sqlite").exists()
    assert charges(tmp_path) == [("run-1", 11, 1)]


async def test_a_worker_killed_before_it_wrote_anything_leaves_nothing_to_absorb(tmp_path: Path) -> None:
    (tmp_path / "calls").mkdir()
    (tmp_path / "calls" / "worker-0.sqlite").touch()
    absorb(tmp_path)
    assert list((tmp_path / "calls").glob("*.sqlite*")) == []


def damage(path: Path) -> None:
    path.write_bytes(b"no database at all, " * 500)


def age(path: Path) -> None:
    with closing(sqlite3.connect(path)) as file:
        file.execute("PRAGMA user_version = 99")


def another_program(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as file:
        file.execute("CREATE TABLE notes (text)")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            damage,
            r"calls.sqlite is damaged \(file is not a database\): put a copy of it in its place, or move",
        ),
        (
            age,
            r"calls.sqlite is of another version of align \(99, not 1\): use that version, or move the file",
        ),
        (another_program, r"calls.sqlite is of another version of align \(0, not 1\)"),
    ],
)
async def test_a_file_that_is_no_store_stops_the_run_and_is_left_as_it_is(
    spoil: object, message: str, tmp_path: Path
) -> None:
    assert callable(spoil)
    async with open_store(tmp_path, "score", ALONE) as store:
        await store.keep(REPLY, CHARGE)
    path = tmp_path / "calls.sqlite"
    spoil(path)
    content = path.read_bytes()
    with pytest.raises(RecipeError, match=message):
        async with open_store(tmp_path, "score", ALONE):
            pass
    with pytest.raises(RecipeError, match=message):
        forget_rejections(tmp_path, "score")
    assert path.read_bytes() == content


async def test_what_a_run_has_spent_is_told_by_model_over_all_attempts(tmp_path: Path) -> None:
    assert spending_of_run(tmp_path) is None
    assert not (tmp_path / "calls.sqlite").exists()
    for attempt in range(2):
        async with open_store(tmp_path, "score", ALONE) as store:
            await store.keep(REPLY, charge(attempt))
            store.note(replace(charge(10 + attempt), model="a", money=None))
    assert spending_of_run(tmp_path) == [Spending("a", 22, 14, None), Spending("m", 22, 14, 1.0)]
    (tmp_path / "calls.sqlite").write_bytes(b"no database at all")
    with pytest.raises(RecipeError, match=r"calls.sqlite is damaged"):
        spending_of_run(tmp_path)


async def test_what_workers_spent_counts_before_it_is_taken_in_and_each_charge_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2):
        async with open_store(tmp_path, "score", TWO) as store:
            await store.keep(REPLY, charge(number))
            store.note(replace(charge(10 + number), model="a", money=None))
    spent = [Spending("a", 22, 14, None), Spending("m", 22, 14, 1.0)]
    killed_at_once = tmp_path / "calls" / "worker-1.sqlite"
    killed_at_once.touch()
    assert spending_of_run(tmp_path) == spent
    assert not (tmp_path / "calls.sqlite").exists()
    assert killed_at_once.read_bytes() == b""
    with monkeypatch.context() as killed:
        killed.setattr("align.teacher.store.remove", lambda path: None)
        absorb(tmp_path)
    assert list((tmp_path / "calls").glob("*.sqlite"))
    assert spending_of_run(tmp_path) == spent
    absorb(tmp_path)
    assert spending_of_run(tmp_path) == spent


async def test_a_file_damaged_in_its_middle_stops_the_run_where_that_is_read(tmp_path: Path) -> None:
    long = replace(REPLY, text="x" * 10_000)
    async with open_store(tmp_path, "score", ALONE) as store:
        await asyncio.gather(*(store.keep(long, charge(number)) for number in range(20)))
    path = tmp_path / "calls.sqlite"
    content = path.read_bytes()
    path.write_bytes(content[:8192] + b"\xff" * (len(content) - 8192))
    async with open_store(tmp_path, "score", ALONE) as store:
        with pytest.raises(RecipeError, match=r"calls.sqlite is damaged"):
            [store.find(f"key-{number}") for number in range(20)]


def fill_disk(store: Store) -> None:
    """SQLite's own limit on a file's pages; it belongs to a connection, so it is set on the writer's."""
    pages = store._file.execute("PRAGMA page_count").fetchone()[0]
    store._file.execute(f"PRAGMA max_page_count = {pages}")


async def test_on_a_full_disk_everyone_who_waits_is_told_and_what_was_kept_is_safe(tmp_path: Path) -> None:
    long = replace(REPLY, text="x" * 10_000)
    async with open_store(tmp_path, "score", ALONE) as store:
        await store.keep(REPLY, charge(0))
        fill_disk(store)
        found = await asyncio.wait_for(
            asyncio.gather(
                *(store.keep(long, charge(number)) for number in range(1, 9)), return_exceptions=True
            ),
            5,
        )
        assert [type(error) for error in found] == [StoreFailed] * 8
        assert str(found[0]) == (
            f"{tmp_path / 'calls.sqlite'}: the disk is full; free space or make it writable, and run again: "
            "what was kept before is safe"
        )
        with pytest.raises(StoreFailed):
            store.note(charge(9))
        with pytest.raises(StoreFailed):
            await store.keep(REPLY, charge(9))
        assert store.find("key-0") == REPLY
    async with open_store(tmp_path, "score", ALONE) as store:
        assert store.find("key-0") == REPLY
        await store.keep(long, charge(1))


async def test_an_error_that_nobody_foresaw_is_told_to_all_who_wait(tmp_path: Path) -> None:
    """A number that SQLite has no room for, in the batch that is written and beside the one that fills."""
    opening = open_store(tmp_path, "score", ALONE)
    store = await opening.__aenter__()
    first = asyncio.create_task(store.keep(REPLY, replace(charge(0), prompt_tokens=2**64)))
    await asyncio.sleep(0)
    found = await asyncio.wait_for(
        asyncio.gather(first, *(store.keep(REPLY, charge(n)) for n in (1, 2)), return_exceptions=True), 5
    )
    assert [type(error) for error in found] == [StoreFailed] * 3
    assert "calls.sqlite: a reply could not be kept (OverflowError: " in str(found[0])
    with pytest.raises(StoreFailed):
        store.note(charge(3))
    await asyncio.wait_for(opening.__aexit__(None, None, None), 5)
    async with open_store(tmp_path, "score", ALONE) as again:
        await again.keep(REPLY, charge(4))


async def test_charges_that_cannot_be_written_at_the_end_are_not_passed_over(tmp_path: Path) -> None:
    opening = open_store(tmp_path, "score", ALONE)
    store = await opening.__aenter__()
    await store.keep(REPLY, charge(0))
    fill_disk(store)
    for number in range(500):
        store.note(charge(number))
    with pytest.raises(StoreFailed, match="the disk is full"):
        await opening.__aexit__(None, None, None)
