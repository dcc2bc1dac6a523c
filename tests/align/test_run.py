"""The stage graph: same rows however it is run, nothing paid for twice, nothing of two makings mixed."""

import asyncio
import fcntl
import json
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from align.manifest import StaleStage, read_manifest, versions
from align.mini.oracle import Oracle, serving
from align.mini.world import situations
from align.recipe import RecipeError
from align.records import Dropped, Query, RecordError, SftRow, Trajectory, read_rows
from align.run import STAGES, run
from align.stages.drops import StageAborted
from tests.align.recipes import asking, recipe, write_recipe
from tests.align.scripted_teacher import Scripted, ScriptedTeacher

TO_ROWS = ("queries", "trajectories", "gates", "rows")


def rows_of(directory: Path) -> dict[str, bytes]:
    return {stage: (directory / stage / "rows.jsonl").read_bytes() for stage in TO_ROWS}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run."""
    directory = tmp_path_factory.mktemp("runs")
    run(recipe(directory), directory / "run", until="rows")
    return directory / "run"


def test_a_run_leaves_training_rows_of_instruction_picture_and_reply(finished: Path) -> None:
    rows = list(read_rows(finished / "rows" / "rows.jsonl", SftRow))
    assert len(rows) == 30
    assert all((finished / row.image).is_file() and row.completion.startswith("<think>\n") for row in rows)
    manifest = read_manifest(finished / "rows")
    assert manifest
    assert (manifest.rows, manifest.dropped, manifest.seed) == (30, {}, 1)


def test_policies_of_ones_own_decide_the_rows_and_drop_those_near_a_dropped_one(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "policies.toml").write_text('drop = ["P01", "P19"]')
    changes = {'policies = "all"': 'policies = "all"\npolicy_documents = "own"'}
    run(recipe(tmp_path, changes), tmp_path / "run", until="rows")
    asked = list(read_rows(tmp_path / "run" / "queries" / "rows.jsonl", Query))
    rows = list(read_rows(tmp_path / "run" / "rows" / "rows.jsonl", SftRow))
    assert len(rows) == len(asked) < 30
    assert not {"P01", "P19"} & {query.category for query in asked}
    assert not any("[P19." in row.completion for row in rows)


def test_a_chosen_policy_that_there_is_not_stops_the_run_before_any_work(tmp_path: Path) -> None:
    chosen = recipe(tmp_path, {'policies = "all"': 'policies = ["P01", "P77"]'})
    with pytest.raises(RecipeError, match="there is no policy P77; of P01, P02"):
        run(chosen, tmp_path / "run", until="rows")
    assert not (tmp_path / "run" / "queries" / "rows.jsonl").exists()


def test_policies_beyond_the_teachers_budget_stop_the_run_before_any_work(tmp_path: Path) -> None:
    small = recipe(tmp_path, {"max_tokens = 1024": "max_tokens = 1024\npolicy_tokens = 100"})
    with pytest.raises(RecipeError, match=r"'trajectories.policy_tokens': 20 policies take \d+ tokens"):
        run(small, tmp_path / "run", until="rows")
    assert not (tmp_path / "run" / "queries" / "rows.jsonl").exists()


def test_order_and_concurrency_do_not_change_a_byte(finished: Path, tmp_path: Path) -> None:
    one_by_one = recipe(tmp_path, {"concurrency = 16": "concurrency = 1"})
    run(one_by_one, tmp_path / "run", until="rows")
    assert rows_of(tmp_path / "run") == rows_of(finished)


def test_a_complete_stage_is_not_made_again(tmp_path: Path) -> None:
    run(recipe(tmp_path), tmp_path / "run", until="gates")
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*.json*")}
    run(recipe(tmp_path, {"retries = 5": "retries = 1"}), tmp_path / "run", until="gates")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*.json*")} == made


def test_a_changed_recipe_is_not_mixed_into_old_rows(tmp_path: Path) -> None:
    run(recipe(tmp_path), tmp_path / "run", until="rows")
    changed = recipe(tmp_path, {"temperature = 0.0": "temperature = 0.7"})
    with pytest.raises(StaleStage, match=r"trajectories.*the recipe's part.*--from trajectories"):
        run(changed, tmp_path / "run", until="rows")
    run(changed, tmp_path / "run", redo_from="trajectories", until="rows")
    run(changed, tmp_path / "run", until="rows")


def test_from_makes_a_complete_stage_again_and_leaves_later_ones_that_it_does_not_concern(
    tmp_path: Path,
) -> None:
    run(recipe(tmp_path), tmp_path / "run", until="rows")
    before = {stage: (tmp_path / "run" / stage / "manifest.json").stat().st_mtime_ns for stage in TO_ROWS}
    run(recipe(tmp_path), tmp_path / "run", redo_from="gates", until="rows")
    after = {stage: (tmp_path / "run" / stage / "manifest.json").stat().st_mtime_ns for stage in TO_ROWS}
    assert [stage for stage in TO_ROWS if before[stage] != after[stage]] == ["gates"]


def test_rows_changed_by_hand_stop_the_run(tmp_path: Path) -> None:
    run(recipe(tmp_path), tmp_path / "run", until="rows")
    path = tmp_path / "run" / "gates" / "rows.jsonl"
    path.write_bytes(path.read_bytes().replace(b"refuse", b"comply"))
    with pytest.raises(StaleStage, match="was changed after it was written"):
        run(recipe(tmp_path), tmp_path / "run", until="rows")


def test_a_changed_picture_is_noticed(tmp_path: Path) -> None:
    run(recipe(tmp_path), tmp_path / "run", until="queries")
    picture = next((tmp_path / "run" / "queries" / "images").iterdir())
    picture.write_bytes(picture.read_bytes() + b"\0")
    with pytest.raises(RecordError, match="was changed after the query was written"):
        run(recipe(tmp_path), tmp_path / "run", until="trajectories")


def test_two_runs_on_one_directory_do_not_meet(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with (tmp_path / "run" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(RecipeError, match="in use by another run"):
            run(recipe(tmp_path), tmp_path / "run", until="queries")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"until": "row"}, "there is no stage 'row'"),
        ({"redo_from": "rows", "until": "gates"}, "--from rows comes after --until gates"),
    ],
)
def test_a_stage_that_cannot_be_meant_is_refused(
    options: dict[str, str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=message):
        run(recipe(tmp_path), tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_the_graph_reads_only_backwards() -> None:
    seen: set[str] = set()
    for stage in STAGES:
        assert set(stage.reads) <= seen
        seen.add(stage.name)


class CountingOracle(Oracle):
    """The oracle, slowed down, with a count of what it was asked."""

    def __init__(self, delay_s: float = 0.0) -> None:
        super().__init__(situations("train", 30))
        self.asked: Counter[str] = Counter()
        self._delay_s = delay_s

    def app(self) -> web.Application:
        @web.middleware
        async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
            self.asked[json.dumps((await request.json())["messages"][-1])] += 1
            await asyncio.sleep(self._delay_s)
            return await handler(request)

        app = super().app()
        app.middlewares.append(count)
        return app


@pytest.mark.anyio
async def test_kill_at_any_moment_then_rerun_gives_the_same_bytes_and_repeats_no_call(
    finished: Path, tmp_path: Path
) -> None:
    oracle = CountingOracle(delay_s=0.05)
    async with serving(oracle) as url:
        path = write_recipe(tmp_path / "small.toml", asking(url, concurrency=2))
        command = (
            sys.executable,
            "-m",
            "align",
            "run",
            str(path),
            "--until",
            "rows",
            "--out",
            str(tmp_path / "run"),
        )
        killed = await asyncio.create_subprocess_exec(*command)
        while oracle.asked.total() < 9:
            assert killed.returncode is None
            await asyncio.sleep(0.01)
        killed.kill()
        await killed.wait()
        arrived = tmp_path / "run" / "trajectories" / "arrived" / "rows.jsonl"
        kept = arrived.read_bytes().count(b"\n")
        assert 0 < kept < 30
        assert not (tmp_path / "run" / "trajectories" / "manifest.json").exists()
        arrived.write_bytes(arrived.read_bytes() + b'{"query_id": "mini:tr')
        again = await asyncio.create_subprocess_exec(*command)
        assert await again.wait() == 0
    assert rows_of(tmp_path / "run") == rows_of(finished)
    assert oracle.asked.total() <= 30 + 2  # what was in flight when it was killed, at most
    assert sum(1 for count in oracle.asked.values() if count == 1) >= 28


@contextmanager
def scripted(*script: Scripted) -> Iterator[tuple[ScriptedTeacher, str]]:
    """A scripted teacher that serves from a thread of its own while a run blocks this one."""
    server, ready, done = ScriptedTeacher(script), threading.Event(), asyncio.Event()
    found: list[str] = []
    runner = asyncio.Runner()

    async def main() -> None:
        async with server.serving() as url:
            found.append(url)
            ready.set()
            await done.wait()

    thread = threading.Thread(target=lambda: runner.run(main()))
    thread.start()
    ready.wait(10)
    try:
        yield server, found[0]
    finally:
        runner.get_loop().call_soon_threadsafe(done.set)
        thread.join(10)
        runner.close()


def test_concurrency_is_used_and_bounded(tmp_path: Path) -> None:
    with scripted(Scripted(hangs_s=0.02)) as (server, url):
        run(recipe(tmp_path, asking(url, concurrency=4)), tmp_path / "run", until="trajectories")
    assert server.most_in_flight == 4
    assert len(server.history) == 30


def test_replies_without_a_trace_are_dropped_with_their_reason_and_too_many_stop_the_stage(
    tmp_path: Path,
) -> None:
    with scripted(Scripted(text="I can't help with that.")) as (server, url):
        changed = asking(url)
        with pytest.raises(StageAborted, match=r"gates: 30 of 30 rows dropped \(30 no_trace\)"):
            run(recipe(tmp_path, changed), tmp_path / "run", until="rows")
        assert not (tmp_path / "run" / "gates" / "manifest.json").exists()
        assert len(server.history) == 30


def test_rejected_rows_are_data_and_are_not_asked_again(tmp_path: Path) -> None:
    patient = {"max_dropped_share = 0.01": "max_dropped_share = 0.5"}
    script = [Scripted(status=400), Scripted(text=" "), Scripted()]
    with scripted(*script) as (server, url):
        run(recipe(tmp_path, asking(url, concurrency=1) | patient), tmp_path / "run", until="trajectories")
        dropped = list(read_rows(tmp_path / "run" / "trajectories" / "dropped.jsonl", Dropped))
        assert [(row.id, row.reason) for row in dropped] == [
            ("mini:train:0", "teacher_rejected"),
            ("mini:train:1", "empty_reply"),
        ]
        manifest = read_manifest(tmp_path / "run" / "trajectories")
        assert manifest
        assert (manifest.rows, manifest.dropped) == (28, {"teacher_rejected": 1, "empty_reply": 1})
        assert len(server.history) == 30


def test_an_outage_stops_the_stage_early_and_a_rerun_asks_for_what_is_missing(tmp_path: Path) -> None:
    script = [*[Scripted()] * 10, *[Scripted(status=503)] * 6, Scripted()]
    with scripted(*script) as (server, url):
        settings = recipe(tmp_path, asking(url, concurrency=1, retries=0))
        with pytest.raises(
            StageAborted, match=r"trajectories: 1 of 30 rows dropped \(1 teacher_unavailable\)"
        ):
            run(settings, tmp_path / "run", until="trajectories")
        assert len(server.history) == 11
        tolerant = {"max_dropped_share = 0.01": "max_dropped_share = 0.2"}
        run(
            recipe(tmp_path, asking(url, concurrency=1, retries=0) | tolerant),
            tmp_path / "run",
            until="trajectories",
        )
    rows = list(read_rows(tmp_path / "run" / "trajectories" / "rows.jsonl", Trajectory))
    asked = list(read_rows(tmp_path / "run" / "queries" / "rows.jsonl", Query))
    assert len(rows) == 25
    assert len(server.history) == 11 + 20
    assert [row.query_id for row in rows] == [query.id for query in (*asked[:10], *asked[15:])]


def test_a_wrong_key_stops_the_run_at_once(tmp_path: Path) -> None:
    with scripted(Scripted(status=401)) as (server, url), pytest.raises(RecipeError, match="HTTP 401"):
        run(recipe(tmp_path, asking(url, concurrency=1)), tmp_path / "run", until="trajectories")
    assert len(server.history) == 1


def test_the_key_comes_from_the_variable_that_the_recipe_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scripted(Scripted()) as (server, url):
        changes = asking(url, concurrency=1)
        changes |= {"retries = 2": 'retries = 2\napi_key_env = "LAB_TEACHER_KEY"'}
        monkeypatch.delenv("LAB_TEACHER_KEY", raising=False)
        with pytest.raises(RecipeError, match="LAB_TEACHER_KEY, which is not set"):
            run(recipe(tmp_path, changes), tmp_path / "run", until="trajectories")
        assert server.history == []
        monkeypatch.setenv("LAB_TEACHER_KEY", "secret")
        run(recipe(tmp_path, changes), tmp_path / "run", until="trajectories")
        assert {headers["Authorization"] for headers in server.headers} == {"Bearer secret"}
    texts = [path.read_text() for path in (tmp_path / "run").rglob("*.json*")]
    assert not any("secret" in text for text in texts)


def test_versions_are_told_even_where_the_project_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert versions()["groundrule-platform"][0].isdigit()
    monkeypatch.setattr(sys, "path", [])
    assert versions()["groundrule-platform"] == "not installed"
