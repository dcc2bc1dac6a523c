"""Several workers: what each is dealt, when they end, and that nothing is paid for twice."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from align.errors import RecipeError, StageAborted
from align.graph import Span
from align.recipe import Recipe
from align.records import Description, Dropped, DropReason, Query, Usage, read_rows, write_rows
from align.run import run
from align.scale import Gathered, ask_on_workers, check_workers, dealt, workers
from align.scale_worker import Batch, StageWorker, Stopped, stop_marker
from align.stages.describe import DESCRIBE
from align.stages.workspace import Workspace
from align.teacher.ledger import Charge
from align.teacher.reply import Reply
from align.teacher.store import open_store
from align.teacher.store_file import opened
from align.teacher.tally import RoleCalls, StageCalls
from align.teacher.worker import Worker
from policies.catalog import load_catalog
from tests.align.recipes import recipe
from tests.align.scripted_teacher import Scripted, ScriptedTeacher, scripted

ROWS = 16
GOOD = Scripted(text="A picture of a lamp.", hangs_s=0.2)
REFUSED = Scripted(status=401)
TO_QUERIES = Span(last="queries")


def small(directory: Path, url: str = "http://127.0.0.1:9/v1", *, key: str | None = None) -> Recipe:
    """The small recipe with few rows, whose describer is at this address."""
    table = f'[endpoints.other]\nbase_url = "{url}"\nconcurrency = 4\ntimeout_s = 30.0\nretries = 0\n'
    table += f'api_key_env = "{key}"\n' if key else ""
    role = '[roles.describer]\nendpoint = "lab"'
    changes = {"count = 60": f"count = {ROWS}", role: f"{table}\n{role.replace('lab', 'other')}"}
    return recipe(directory, changes)


def with_queries(directory: Path, url: str) -> Workspace:
    """A run whose first and last query have the same picture, and two workers to describe it."""
    run(small(directory, url), directory / "run", TO_QUERIES)
    path = directory / "run" / "queries" / "rows.jsonl"
    first, *others, last = read_rows(path, Query)
    same = last.model_copy(update={"image": first.image, "image_sha256": first.image_sha256})
    write_rows(path, [first, *others, same])
    return Workspace(small(directory, url), load_catalog(), directory / "run", 2)


def gathered(directory: Path, total: int = 10) -> Gathered:
    return Gathered(DESCRIBE, total, Workspace(small(directory), load_catalog(), directory, 2))


def calls(number: int, seconds: float) -> StageCalls:
    counts = {name: 0 for name in RoleCalls.model_fields} | {"calls": number, "money": None}
    role = RoleCalls.model_validate(counts)
    return StageCalls(**role.model_dump(), currency="USD", by_role={"describer": role}, seconds=seconds)


def described(*places: int, failed: int = 0, asked: StageCalls | None = None) -> Batch:
    """A worker's batch of which the first rows got no reply."""
    rows: list[Description | Dropped] = [
        Dropped(id=str(place), stage="describe", reason=DropReason.REJECTED, detail="")
        if number < failed
        else Description(query_id=str(place), text="A lamp.", describer="m")
        for number, place in enumerate(places)
    ]
    return Batch("one", places, tuple(rows), asked or calls(len(places), 1.0))


def test_what_may_be_asked_alike_is_one_workers() -> None:
    groups = ["a", "b", "a", "c", "d", "b", "e", "a"]
    parts = dealt(groups, workers=1, most=2)
    assert sorted(place for part in parts for place in part) == list(range(8))
    assert parts[0] == [0, 2, 7]
    for group in set(groups):
        assert (
            len({number for number, part in enumerate(parts) for place in part if groups[place] == group})
            == 1
        )


def test_parts_are_small_enough_to_show_progress_and_many_enough_for_all_workers() -> None:
    parts = dealt([str(number) for number in range(10_000)], workers=4, most=50)
    assert {len(part) for part in parts} == {50}
    assert len(dealt([str(number) for number in range(64)], workers=4, most=50)) == 32
    assert [place for part in parts for place in part] == list(range(10_000))


def test_more_workers_than_an_endpoint_takes_requests_are_refused(tmp_path: Path) -> None:
    chosen = small(tmp_path)
    check_workers(chosen, 4)
    with pytest.raises(RecipeError, match=r"--workers 5 is more than endpoints.other takes.*--workers 4"):
        run(chosen, tmp_path / "run", workers=5)
    assert not (tmp_path / "run").exists()


def test_ray_and_keys_are_needed_only_where_models_are_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # as where the extra is not installed
    monkeypatch.delenv("A_KEY", raising=False)
    chosen = small(tmp_path, key="A_KEY")
    run(chosen, tmp_path / "run", TO_QUERIES, workers=2)
    with pytest.raises(RecipeError, match="takes its key from A_KEY, which is not set"):
        run(chosen, tmp_path / "run", Span(last="describe"), workers=2)
    monkeypatch.setenv("A_KEY", "x")
    with pytest.raises(RecipeError, match="install the extra `scale`"):
        run(chosen, tmp_path / "run", Span(last="describe"), workers=2)


def test_failures_of_all_workers_count_together(tmp_path: Path) -> None:
    """The recipe allows a fifth of 10 rows; no single batch has that many failures."""
    heard = gathered(tmp_path)
    assert heard.take(described(0, 1, 2, failed=1)) == 3
    heard.take(described(3, 4, 5, failed=1))
    assert heard.error is None
    heard.take(described(6, 7, 8, failed=1))
    with pytest.raises(StageAborted, match=r"describe: 3 of 10 rows dropped \(3 rejected\)"):
        heard.whole()


def test_the_error_that_ended_the_stage_is_told_not_that_others_were_stopped(tmp_path: Path) -> None:
    heard = gathered(tmp_path)
    for answer in (Stopped("stopped"), RecipeError("no key"), StageAborted("later"), Stopped("stopped")):
        heard.take(answer)
    with pytest.raises(RecipeError, match="no key"):
        heard.whole()


def test_results_are_in_order_and_a_workers_newest_word_counts(tmp_path: Path) -> None:
    heard = gathered(tmp_path, total=3)
    heard.take(described(1, asked=calls(7, 2.0)))
    heard.take(described(0, asked=calls(4, 1.0)))
    assert heard.as_line() == "7 calls, 0 hits, 0 retries, 0 tokens, not priced"
    with pytest.raises(RuntimeError, match="workers left 1 rows without a result"):
        heard.whole()
    heard.take(described(2, asked=calls(9, 3.0)))
    results, asked = heard.whole()
    assert [row.query_id for row in results] == ["0", "1", "2"]
    assert asked.calls == 9


@pytest.mark.anyio
async def test_a_worker_that_ends_keeps_what_is_under_way_and_stops_the_others(tmp_path: Path) -> None:
    server = ScriptedTeacher([GOOD, replace(REFUSED, hangs_s=0.05), GOOD])
    async with server.serving() as url:
        workspace = with_queries(tmp_path, url)
        stop_marker(workspace.directory).parent.mkdir()
        places = list(range(ROWS))
        error = await StageWorker("describe", ROWS, workspace).answer(places)
        assert isinstance(error, RecipeError)
        asked = len(server.history)
        assert asked <= 3  # two at once, and one whose turn came with the error
        assert isinstance(await StageWorker("describe", ROWS, workspace).answer(places), Stopped)
        assert len(server.history) == asked
        stop_marker(workspace.directory).unlink()
        batch = await StageWorker("describe", ROWS, workspace).answer(places)
    assert isinstance(batch, Batch)
    assert batch.calls.calls == (ROWS - 1) - (asked - 1)  # two rows have one picture, one reply was an error
    assert batch.calls.calls + batch.calls.hits == ROWS
    assert sorted(server.asked.values()) == [1] * (ROWS - 2) + [2]


@pytest.mark.anyio
async def test_workers_see_what_a_kill_left_in_the_log_and_need_no_shared_memory(tmp_path: Path) -> None:
    reply = Reply("a text", "stop", Usage(prompt_tokens=11, completion_tokens=7), None)
    killed = tmp_path / "killed"
    killed.mkdir()
    (tmp_path / "first").mkdir()
    async with open_store(tmp_path / "first", "score", Worker()) as store:
        await store.keep(reply, Charge("1", "key", "teacher", "m", 11, 7, 0.5, True))
        for name in ("calls.sqlite", "calls.sqlite-wal"):
            shutil.copy(tmp_path / "first" / name, killed / name)
    async with open_store(killed, "score", Worker(of=2)) as store:
        assert store.find("key") == reply
    opened(killed / "calls.sqlite").close()
    async with open_store(killed, "score", Worker(of=2)) as store:
        assert store.find("key") == reply
        assert [path.name for path in killed.glob("calls.sqlite*")] == ["calls.sqlite"]


@pytest.mark.timeout(240)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray warns of itself
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_key_that_stops_working_costs_two_workers_nothing_and_a_picture_is_described_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run directory is given relative to where the run was started, as `--out` may be."""
    with scripted(*[GOOD] * 5, REFUSED, GOOD) as (server, url), workers(2):
        monkeypatch.chdir(tmp_path)
        workspace = replace(with_queries(tmp_path, url), directory=Path("run"))
        items = DESCRIBE.items(workspace)
        with pytest.raises(RecipeError, match="401"):
            ask_on_workers(DESCRIBE, items, workspace)
        assert 5 < len(server.history) < ROWS
        assert not list((tmp_path / "run" / "calls").glob("*.sqlite"))
        results, calls = ask_on_workers(DESCRIBE, items, workspace)
    assert [row.query_id for row in results] == [item.id for item in items]
    assert results[0].text == results[-1].text
    assert sorted(server.asked.values()) == [1] * (ROWS - 2) + [2]  # the one that got the 401
    assert calls.calls + calls.hits == ROWS
    assert not stop_marker(tmp_path / "run").exists()
