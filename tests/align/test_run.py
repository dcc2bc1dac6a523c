"""The stage graph: same rows however it is run, nothing paid for twice, nothing of two makings mixed."""

import asyncio
import fcntl
import json
import sys
from collections import Counter
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from align.errors import RecipeError, StageAborted
from align.graph import STAGES, Span
from align.manifest import StaleStage, read_manifest, versions
from align.mini.oracle import Oracle, serving
from align.records import Dropped, Pair, Query, RecordError, Scored, SftRow, Trajectory, read_rows
from align.run import run
from tests.align.recipes import DATA, lab_at, recipe, rows_of, teacher_at, write_recipe
from tests.align.scripted_teacher import GOOD, Scripted, scripted

TO_PAIRS = Span(last="pairs")
TO_TRAJECTORIES = Span(last="trajectories")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run."""
    directory = tmp_path_factory.mktemp("runs")
    run(recipe(directory), directory / "run", TO_PAIRS)
    return directory / "run"


def retries_of(directory: Path) -> int:
    """Attempts that the lab's wire noise cost an undisturbed run."""
    return sum(json.loads(path.read_text())["retries"] for path in directory.glob("*/calls.json"))


def made(directory: Path, stages: tuple[str, ...] = DATA) -> dict[str, int]:
    return {stage: (directory / stage / "manifest.json").stat().st_mtime_ns for stage in stages}


def test_a_run_leaves_training_rows_of_instruction_picture_and_reply(finished: Path) -> None:
    rows = list(read_rows(finished / "select" / "rows.jsonl", SftRow))
    assert len(rows) == 20
    assert all((finished / row.image).is_file() and row.completion.startswith("<think>\n") for row in rows)
    assert Counter(row.verdict == "comply" for row in rows) == {True: 10, False: 10}
    manifest = read_manifest(finished / "select")
    assert manifest
    assert (manifest.rows, manifest.seed) == (20, 1)


def test_every_selected_row_has_full_marks_in_all_five_rounds(finished: Path) -> None:
    kept = {row.completion: row for row in read_rows(finished / "score" / "rows.jsonl", Scored)}
    for row in read_rows(finished / "select" / "rows.jsonl", SftRow):
        assert kept[row.completion].full
        assert len(kept[row.completion].rounds) == 5


def test_what_is_not_full_in_the_first_round_is_not_scored_again(finished: Path) -> None:
    scored = list(read_rows(finished / "score" / "scored.jsonl", Scored))
    assert {len(row.rounds) for row in scored if not row.rounds[0].full} == {1}
    assert {len(row.rounds) for row in scored if row.rounds[0].full} == {5}
    calls = json.loads((finished / "score" / "calls.json").read_text())
    assert sum(len(row.rounds) for row in scored) <= calls["calls"] < 5 * len(scored)


def test_no_row_vanishes_unaccounted(finished: Path) -> None:
    """Every row that enters a stage leaves it or is dropped with a reason."""
    read_by = {"describe": "queries", "categorise": "describe", "gates": "trajectories", "score": "gates"}
    for stage, before in read_by.items():
        manifests = [read_manifest(finished / name) for name in (before, stage)]
        assert manifests[0]
        assert manifests[1]
        assert manifests[0].rows == manifests[1].rows + sum(manifests[1].dropped.values())
        dropped = list(read_rows(finished / stage / "dropped.jsonl", Dropped))
        assert Counter(str(row.reason) for row in dropped) == manifests[1].dropped


def test_pairs_say_how_they_were_made_and_keep_to_format_and_length(finished: Path) -> None:
    pairs = list(read_rows(finished / "pairs" / "rows.jsonl", Pair))
    assert {pair.kind for pair in pairs} == {"contrastive", "post_hoc", "over_refusal"}
    for pair in pairs:
        assert pair.chosen != pair.rejected
        assert pair.rejected.startswith("<think>\n")
        assert max(len(pair.chosen), len(pair.rejected)) <= 1.5 * min(len(pair.chosen), len(pair.rejected))
        if pair.kind == "over_refusal":
            assert "Verdict: comply" in pair.chosen
    assert {pair.rejected_by for pair in pairs if pair.kind == "post_hoc"} == {"lab-adversary"}
    assert {pair.rejected_by for pair in pairs if pair.kind == "contrastive"} <= {
        "lab-reasoner", "lab-drifter", "lab-timid",
    }  # fmt: skip


def test_a_recipe_without_pairs_has_no_such_stages(tmp_path: Path) -> None:
    text = write_recipe(tmp_path / "small.toml", {'srpo = "pst"\n': ""}).read_text()
    for first, after in (("[mine]", "[sft]"), ("[srpo]", "[bundle]")):
        text = text[: text.index(first)] + text[text.index(after) :]
    (tmp_path / "small.toml").write_text(text)
    from align.recipe import load_recipe

    without = load_recipe(tmp_path / "small.toml")
    with pytest.raises(RecipeError, match="does not ask for the stage 'pairs': one of queries, describe"):
        run(without, tmp_path / "run", TO_PAIRS)


def test_a_teacher_that_sees_needs_no_descriptions(tmp_path: Path) -> None:
    text = write_recipe(tmp_path / "small.toml").read_text()
    start, end = text.index("[roles.describer]"), text.index("[roles.categoriser]")
    text = text[:start] + text[end:].replace("[describe]\nmax_failed_share = 0.2\n", "")
    for role in ("categoriser", "teacher", "adversary"):
        text = text.replace(f'model = "lab-{role}"\n', f'model = "lab-{role}"\nsees = true\n')
    (tmp_path / "small.toml").write_text(text)
    from align.recipe import load_recipe

    run(load_recipe(tmp_path / "small.toml"), tmp_path / "run", Span(last="select"))
    assert not (tmp_path / "run" / "describe").exists()
    assert len(list(read_rows(tmp_path / "run" / "select" / "rows.jsonl", SftRow))) == 20


def test_policies_of_ones_own_decide_the_rows_and_drop_those_near_a_dropped_one(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "policies.toml").write_text('drop = ["P01", "P19"]')
    changes = {'policies = "all"': 'policies = "all"\npolicy_documents = "own"'}
    run(recipe(tmp_path, changes), tmp_path / "run", Span(last="select"))
    rows = list(read_rows(tmp_path / "run" / "select" / "rows.jsonl", SftRow))
    assert rows
    assert not {"P01", "P19"} & {row.category for row in rows}
    assert not any("[P19." in row.completion for row in rows)


def test_policies_that_the_recipe_leaves_out_are_dropped_by_name(tmp_path: Path) -> None:
    chosen = recipe(tmp_path, {'policies = "all"': 'policies = ["P01", "P20"]'})
    run(chosen, tmp_path / "run", Span(last="categorise"))
    dropped = list(read_rows(tmp_path / "run" / "categorise" / "dropped.jsonl", Dropped))
    assert {row.detail for row in dropped if row.reason == "policy_not_chosen"} > {"P08"}
    assert {
        json.loads(line)["category"]
        for line in (tmp_path / "run" / "categorise" / "rows.jsonl").read_text().splitlines()
    } <= {"P01", "P20", None}


def test_a_chosen_policy_that_there_is_not_stops_the_run_before_any_work(tmp_path: Path) -> None:
    chosen = recipe(tmp_path, {'policies = "all"': 'policies = ["P01", "P77"]'})
    with pytest.raises(RecipeError, match="there is no policy P77; of P01, P02"):
        run(chosen, tmp_path / "run", TO_PAIRS)
    assert not (tmp_path / "run" / "queries" / "rows.jsonl").exists()


def test_policies_beyond_the_teachers_budget_stop_the_run_before_any_work(tmp_path: Path) -> None:
    small = recipe(tmp_path, {"policy_tokens = 8000": "policy_tokens = 100"})
    with pytest.raises(RecipeError, match=r"'trajectories.policy_tokens': 20 policies take \d+ tokens"):
        run(small, tmp_path / "run", TO_PAIRS)
    assert not (tmp_path / "run" / "queries" / "rows.jsonl").exists()


def test_order_and_concurrency_do_not_change_a_byte(finished: Path, tmp_path: Path) -> None:
    run(recipe(tmp_path, {"concurrency = 16": "concurrency = 1"}), tmp_path / "run", TO_PAIRS)
    assert rows_of(tmp_path / "run") == rows_of(finished)


@pytest.mark.timeout(240)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray warns of itself
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_two_workers_leave_the_same_bytes_and_a_rerun_asks_nothing(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(recipe(tmp_path), out, Span(last="trajectories"), workers=2)
    assert not list(out.glob("calls/worker-*.sqlite"))
    run(recipe(tmp_path), out, Span("trajectories", "trajectories"))
    calls = json.loads((out / "trajectories" / "calls.json").read_text())
    asked = len((out / "categorise" / "rows.jsonl").read_text().splitlines())
    assert (calls["calls"], calls["hits"]) == (0, asked)
    for stage in DATA[:4]:
        assert (out / stage / "rows.jsonl").read_bytes() == (finished / stage / "rows.jsonl").read_bytes()


def test_a_complete_stage_is_not_made_again(tmp_path: Path) -> None:
    run(recipe(tmp_path), tmp_path / "run", Span(last="gates"))
    before = made(tmp_path / "run", DATA[:5])
    run(recipe(tmp_path, {"retries = 6": "retries = 7"}), tmp_path / "run", Span(last="gates"))
    assert made(tmp_path / "run", DATA[:5]) == before


def test_a_changed_recipe_is_not_mixed_into_old_rows(tmp_path: Path) -> None:
    run(recipe(tmp_path), tmp_path / "run", Span(last="select"))
    teacher = 'model = "lab-teacher"\ntemperature = 0.6'
    changed = recipe(tmp_path, {teacher: teacher.replace("0.6", "0.7")})
    with pytest.raises(StaleStage, match=r"trajectories.*the recipe's part.*--from trajectories"):
        run(changed, tmp_path / "run", Span(last="select"))
    run(changed, tmp_path / "run", Span("trajectories", "select"))
    run(changed, tmp_path / "run", Span(last="select"))


def test_from_makes_a_complete_stage_again_and_leaves_later_ones_that_it_does_not_concern(
    tmp_path: Path,
) -> None:
    run(recipe(tmp_path), tmp_path / "run", TO_PAIRS)
    before = made(tmp_path / "run")
    run(recipe(tmp_path), tmp_path / "run", Span("gates", "pairs"))
    after = made(tmp_path / "run")
    assert [stage for stage in DATA if before[stage] != after[stage]] == ["gates"]


def test_rows_changed_by_hand_stop_the_run(tmp_path: Path) -> None:
    run(recipe(tmp_path), tmp_path / "run", Span(last="score"))
    path = tmp_path / "run" / "gates" / "rows.jsonl"
    path.write_bytes(path.read_bytes().replace(b"refuse", b"comply"))
    with pytest.raises(StaleStage, match="was changed after it was written"):
        run(recipe(tmp_path), tmp_path / "run", Span(last="score"))


def test_a_changed_picture_is_noticed(tmp_path: Path) -> None:
    run(recipe(tmp_path), tmp_path / "run", Span(last="queries"))
    query = next(read_rows(tmp_path / "run" / "queries" / "rows.jsonl", Query))
    picture = tmp_path / "run" / query.image
    picture.write_bytes(picture.read_bytes() + b"\0")
    with pytest.raises(RecordError, match="was changed after the query was written"):
        run(recipe(tmp_path), tmp_path / "run", Span(last="describe"))


def test_two_runs_on_one_directory_do_not_meet(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with (tmp_path / "run" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(RecipeError, match="in use by another run"):
            run(recipe(tmp_path), tmp_path / "run", Span(last="queries"))


@pytest.mark.parametrize(
    ("span", "message"),
    [
        (Span(last="row"), "there is no stage 'row'"),
        (Span("row", None), "there is no stage 'row'"),
        (Span("select", "gates"), "--from select comes after --to gates"),
    ],
)
def test_a_stage_that_cannot_be_meant_is_refused(span: Span, message: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=message):
        run(recipe(tmp_path), tmp_path / "run", span)
    assert not (tmp_path / "run").exists()


def test_the_graph_reads_only_backwards() -> None:
    seen: set[str] = set()
    for stage in STAGES:
        assert set(stage.reads) <= seen
        seen.add(stage.name)


class CountingOracle(Oracle):
    """The oracle, slowed down, with a count of what it was asked."""

    def __init__(self, of: Oracle, delay_s: float) -> None:
        self.__dict__.update(of.__dict__)
        self.asked: Counter[str] = Counter()
        self._delay_s = delay_s

    def app(self) -> web.Application:
        @web.middleware
        async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
            response = await handler(request)
            if response.status == 200:
                self.asked[(await request.read()).decode()] += 1
            await asyncio.sleep(self._delay_s)
            return response

        app = super().app()
        app.middlewares.append(count)
        return app


@pytest.mark.anyio
async def test_kill_at_any_moment_then_rerun_gives_the_same_bytes_and_repeats_no_kept_call(
    finished: Path, tmp_path: Path
) -> None:
    """Killed four times, in whatever it was doing; only requests in flight then can be asked twice."""
    queries = list(read_rows(finished / "queries" / "rows.jsonl", Query))
    oracle = CountingOracle(Oracle.of_queries(queries), delay_s=0.01)
    async with serving(oracle) as url:
        path = write_recipe(tmp_path / "small.toml", lab_at(url, concurrency=4))
        command = (
            sys.executable,
            "-m",
            "align",
            "run",
            str(path),
            "--to",
            "pairs",
            "--out",
            str(tmp_path / "run"),
        )
        for stop_after in (20, 90, 190, 300):
            killed = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
            while oracle.asked.total() < stop_after:
                assert killed.returncode is None
                await asyncio.sleep(0.005)
            killed.kill()
            await killed.wait()
        assert not (tmp_path / "run" / "pairs" / "manifest.json").exists()
        again = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
        assert await again.wait() == 0
    assert rows_of(tmp_path / "run") == rows_of(finished)
    in_flight = 4 * 4
    assert sum(count - 1 for count in oracle.asked.values()) <= in_flight + retries_of(finished)


def test_concurrency_is_used_and_bounded(tmp_path: Path) -> None:
    with scripted(Scripted(hangs_s=0.02)) as (server, url):
        run(recipe(tmp_path, teacher_at(url, concurrency=4)), tmp_path / "run", TO_TRAJECTORIES)
    assert server.most_in_flight == 4


def test_a_teacher_that_only_excuses_itself_stops_the_run_at_the_gates(tmp_path: Path) -> None:
    with scripted(Scripted(text="I can't help with that.")) as (_, url):
        with pytest.raises(StageAborted, match=r"gates: (\d+) of \1 rows dropped \(\1 no_trace\)"):
            run(recipe(tmp_path, teacher_at(url)), tmp_path / "run", TO_PAIRS)
        assert not (tmp_path / "run" / "gates" / "manifest.json").exists()
    dropped = list(read_rows(tmp_path / "run" / "gates" / "dropped.jsonl", Dropped))
    assert dropped
    assert all("I can't help with that." in row.detail for row in dropped)


def test_from_an_unfinished_stage_goes_on_and_asks_anew_what_was_rejected(tmp_path: Path) -> None:
    impatient = {
        "policy_tokens = 8000\nmax_failed_share = 0.2": "policy_tokens = 8000\nmax_failed_share = 0.01"
    }
    with scripted(*[Scripted()] * 5, Scripted(status=400), Scripted()) as (server, url):
        settings = recipe(tmp_path, impatient | teacher_at(url, concurrency=1))
        said = (
            "run again with --from trajectories, so that what was rejected is asked anew; the first: HTTP 400"
        )
        for span in (TO_TRAJECTORIES, TO_TRAJECTORIES):  # the rejection is remembered
            with pytest.raises(StageAborted, match=said):
                run(settings, tmp_path / "run", span)
        run(settings, tmp_path / "run", Span("trajectories", "trajectories"))
    asked = Counter(json.dumps(body, sort_keys=True) for body in server.history)
    assert sorted(asked.values())[-2:] == [1, 2]  # the rejected one, and none that was answered
    manifest = read_manifest(tmp_path / "run" / "trajectories")
    assert manifest
    assert manifest.dropped == {}


def test_what_fails_is_counted_by_its_reason_and_is_not_asked_again(tmp_path: Path) -> None:
    script = [Scripted(status=400), Scripted(text=" "), Scripted(refusal="No."), Scripted()]
    with scripted(*script) as (server, url):
        settings = recipe(tmp_path, teacher_at(url, concurrency=1))
        run(settings, tmp_path / "run", TO_TRAJECTORIES)
        manifest = read_manifest(tmp_path / "run" / "trajectories")
        assert manifest
        assert manifest.dropped == {"rejected": 1, "empty_reply": 1, "content_filter": 1}
        dropped = list(read_rows(tmp_path / "run" / "trajectories" / "dropped.jsonl", Dropped))
        assert all(row.id.startswith("mini:train:") and row.id.endswith("#0") for row in dropped)
        asked = len(server.history)
        assert asked == manifest.rows + 3


def test_an_outage_stops_the_stage_early_and_a_rerun_asks_for_what_is_missing(tmp_path: Path) -> None:
    script = [*[Scripted()] * 10, *[Scripted(status=503)] * 2, Scripted()]
    impatient = {"[trajectories]\ncandidates = 1": "[trajectories]\nmax_failed_share = 0.01\ncandidates = 1"}
    impatient |= {"policy_tokens = 8000\nmax_failed_share = 0.2": "policy_tokens = 8000"}
    with scripted(*script) as (server, url):
        at = teacher_at(url, concurrency=1, retries=0)
        with pytest.raises(StageAborted, match=r"trajectories: 1 of \d+ rows dropped \(1 unavailable\)"):
            run(recipe(tmp_path, impatient | at), tmp_path / "run", TO_TRAJECTORIES)
        asked = len(server.history)
        assert asked <= 13
        run(recipe(tmp_path, at), tmp_path / "run", TO_TRAJECTORIES)
    rows = list(read_rows(tmp_path / "run" / "trajectories" / "rows.jsonl", Trajectory))
    manifest = read_manifest(tmp_path / "run" / "categorise")
    assert manifest
    assert len(rows) >= manifest.rows - 1
    bodies = Counter(json.dumps(body, sort_keys=True) for body in server.history)
    assert sum(count > 1 for count in bodies.values()) <= 2  # the two that got no reply


def test_a_wrong_key_stops_the_run_at_once(tmp_path: Path) -> None:
    with scripted(Scripted(status=401)) as (server, url), pytest.raises(RecipeError, match="HTTP 401"):
        run(recipe(tmp_path, teacher_at(url, concurrency=1)), tmp_path / "run", TO_TRAJECTORIES)
    assert len(server.history) <= 2


def test_the_key_comes_from_the_variable_that_the_recipe_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scripted(Scripted(text=GOOD)) as (server, url):
        changes = teacher_at(url, concurrency=1)
        changes |= {f'base_url = "{url}"': f'base_url = "{url}"\napi_key_env = "LAB_TEACHER_KEY"'}
        monkeypatch.delenv("LAB_TEACHER_KEY", raising=False)
        with pytest.raises(RecipeError, match="LAB_TEACHER_KEY"):
            run(recipe(tmp_path, changes), tmp_path / "run", TO_TRAJECTORIES)
        assert server.history == []
        monkeypatch.setenv("LAB_TEACHER_KEY", "secret")
        run(recipe(tmp_path, changes), tmp_path / "run", TO_TRAJECTORIES)
        assert {headers["Authorization"] for headers in server.headers} == {"Bearer secret"}
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert files
    assert not any(b"secret" in path.read_bytes() for path in files)


def test_versions_are_told_even_where_the_project_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert versions()["groundrule-platform"][0].isdigit()
    monkeypatch.setattr(sys, "path", [])
    assert versions()["groundrule-platform"] == "not installed"
