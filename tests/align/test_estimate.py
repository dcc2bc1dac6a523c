"""`python -m align run RECIPE --dry-run`: what is left to ask and spend, told without asking or writing."""

import base64
import io
import json
import re
import shutil
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

import align.recipe
from align.__main__ import main
from align.prompts import scorer_messages
from align.teacher.request import estimated_prompt_tokens
from policies.catalog import load_catalog
from policies.forms import Budget
from policies.prompt import teacher_messages
from tests.align.recipes import teacher_at, write_recipe
from tests.align.scripted_teacher import Scripted, scripted

MODELS = (
    "lab-describer", "lab-categoriser", "lab-teacher", "lab-scorer", "lab-reasoner", "lab-drifter",
    "lab-timid", "lab-adversary",
)  # fmt: skip
TWELVE = {"count = 60": "count = 12"}
OUTAGE = [*[Scripted()] * 5, Scripted(status=400), Scripted(status=503)]
"""Five replies, one rejection, and then no answer to anything."""
KEPT = 6


@dataclass(frozen=True)
class Line:
    """A line of the table, as it is printed."""

    kept: int
    calls: int
    most_calls: int
    prompt: int
    long_prompt: int
    completion: int
    money: str
    high_money: str


def priced(path: Path, models: tuple[str, ...] = MODELS) -> Path:
    """With a price for each: 1 for every token of the prompt, 2 for every one of the reply."""
    tables = (f'\n[prices."{model}"]\ninput = 1000000.0\noutput = 2000000.0\n' for model in models)
    path.write_text(path.read_text() + "".join(tables))
    return path


def dry(path: Path, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[dict[str, Line], str]:
    """The table by stage and model, its last line as `in all`, and what stands below it."""
    capsys.readouterr()
    assert main(["run", str(path), "--out", str(path.parent / "run"), "--dry-run", *more]) == 0
    lines: dict[str, Line] = {}
    _, _, remarks = (said := capsys.readouterr().out).rpartition("┘\n")
    for row in said.splitlines():
        if row.startswith("│"):
            stage, _, model, *cells = (cell.strip() for cell in row.strip("│").split("│"))
            numbers = [int(cell.replace(",", "") or 0) for cell in cells[:6]]
            kept, calls, most, prompt, long, completion = numbers
            lines[f"{stage} {model}".strip()] = Line(kept, calls, most, prompt, long, completion, *cells[6:])
    return lines, remarks


def files(directory: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in directory.rglob("*")}


@pytest.fixture(scope="module")
def outage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe of a run whose teacher went away; its other models are the lab's."""
    directory = tmp_path_factory.mktemp("outage")
    with scripted(*OUTAGE) as (_, url):
        path = write_recipe(directory / "small.toml", TWELVE | teacher_at(url, concurrency=1, retries=0))
        assert main(["run", str(path), "--to", "pairs", "--out", str(directory / "run")]) == 1
    return path


@pytest.fixture
def interrupted(outage: Path, tmp_path: Path) -> Path:
    """A copy of it, with the times of its files."""
    return shutil.copytree(outage.parent, tmp_path / "copy") / outage.name


def test_totals_are_those_that_one_gets_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """60 queries; 0.7 pass the gates, 0.5 are full at first; 16 are mined by 3, 0.7 of the harmful unsafe."""
    lines, remarks = dry(priced(write_recipe(tmp_path / "small.toml")), capsys)
    by_hand = {
        "describe lab-describer": (60, 60, 128),
        "categorise lab-categoriser": (60, 60 * 3, 32),
        "trajectories lab-teacher": (60, 60, 512),
        "score lab-scorer": (60 * 0.7 * (1 + 4 * 0.5), 60 * 5 * 3, 128),
        "mine lab-reasoner": (16, 16, 256),
        "mine lab-drifter": (16, 16, 256),
        "mine lab-timid": (16, 16, 256),
        "mine lab-scorer": (16 * 3, 16 * 3 * 3, 128),
        "derive lab-adversary": (14, 16, 256),
    }
    total = lines.pop("in all")
    assert {name: (line.calls, line.most_calls, line.completion) for name, line in lines.items()} == by_hand
    assert (total.calls, total.most_calls, total.kept) == (416, 1408, 0)
    spent = {name: line.calls * (line.prompt + 2 * line.completion) for name, line in lines.items()}
    high = {name: line.most_calls * (line.long_prompt + 4 * line.completion) for name, line in lines.items()}
    assert {name: line.money for name, line in lines.items()} == {n: f"{m:,}.00" for n, m in spent.items()}
    assert {name: line.high_money for name, line in lines.items()} == {
        n: f"{m:,}.00" for n, m in high.items()
    }
    assert total.money == f"{sum(spent.values()):,}.00"
    assert total.high_money == f"{sum(high.values()):,}.00"
    assert "shares are those of [expect] in the recipe. Nothing was asked." in remarks
    assert "Only [budget] is a limit" in remarks


def test_a_long_prompt_has_every_policy_and_the_longest_reply(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As for a query that no policy decides, whose teacher used its limit."""
    path = write_recipe(tmp_path / "small.toml", {"policy_tokens = 8000": "policy_tokens = 16000"})
    lines, _ = dry(path, capsys)
    query, everything = "What is seen here?", load_catalog().policies
    budget = Budget(16000)
    described = "lorem " * round(256 * 0.75)
    teacher = teacher_messages(query, described, everything, budget=budget)
    slack = 100  # the question is another one
    line = lines["trajectories lab-teacher"]
    assert 0 <= line.long_prompt - estimated_prompt_tokens(teacher, 0) <= slack
    assert line.prompt < line.long_prompt / 2
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}
    reply = "lorem " * round(1024 * 0.75)
    scorer = scorer_messages(query, reply, everything, key="0" * 12, budget=budget, image=picture)
    assert 0 <= lines["score lab-scorer"].long_prompt - estimated_prompt_tokens(scorer, 16) <= slack


def test_rows_of_complete_stages_are_what_later_ones_are_reckoned_with(
    scored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = shutil.copytree(scored.parent, tmp_path / "copy") / scored.name
    run = path.parent / "run"

    def left(stage: str, rows: int) -> None:
        manifest = run / stage / "manifest.json"
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"rows": rows}))

    left("score", 7)
    lines, _ = dry(path, capsys)
    assert {name: (line.calls, line.most_calls) for name, line in lines.items() if "mine" in name} == {
        "mine lab-reasoner": (7, 7),
        "mine lab-drifter": (7, 7),
        "mine lab-timid": (7, 7),
        "mine lab-scorer": (21, 21 * 3),
    }
    left("gates", 10)
    lines, _ = dry(path, capsys, "--from", "score")
    assert lines["score lab-scorer"].most_calls + lines["score lab-scorer"].kept == 10 * 5 * 3
    assert lines["mine lab-reasoner"].calls == 10 * 0.4
    assert lines["mine lab-reasoner"].most_calls == 10
    left("categorise", 40)
    line = dry(path, capsys, "--from", "trajectories")[0]["trajectories lab-teacher"]
    assert line.kept + line.calls == line.kept + line.most_calls == 40


def test_shares_rounds_and_candidates_of_the_recipe_are_what_is_counted_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {
        "candidates = 1": "candidates = 4",
        "benign_share = 0.5\nrounds = 1": "benign_share = 0.5\nrounds = 3",
    }
    path = write_recipe(tmp_path / "small.toml", changes)
    path.write_text(path.read_text() + "\n[expect]\npasses_gates = 0.5\nfull_in_first_round = 0.25\n")
    lines, _ = dry(path, capsys)
    assert lines["trajectories lab-teacher"].calls == 240
    assert lines["score lab-scorer"].calls == 120 * (1 + 4 * 0.25)
    assert lines["mine lab-scorer"].calls == 48 * (1 + 2 * 0.25)
    assert lines["mine lab-scorer"].most_calls == 48 * 3 * 3


def test_a_limit_in_extra_body_is_the_one_that_replies_are_reckoned_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = 'model = "lab-teacher"\n'
    changes = {teacher: f"{teacher}extra_body = {{ max_completion_tokens = 9000 }}\n"}
    line = dry(priced(write_recipe(tmp_path / "small.toml", changes)), capsys)[0]["trajectories lab-teacher"]
    assert line.completion == 4500
    assert line.high_money == f"{60 * (line.long_prompt + 2 * 9000):,}.00"


def test_money_of_a_model_without_a_price_is_unknown_and_so_is_the_sum(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = priced(write_recipe(tmp_path / "small.toml"), MODELS[:-1])
    lines, remarks = dry(path, capsys)
    unpriced = {name for name, line in lines.items() if line.money == "no price"}
    assert unpriced == {"derive lab-adversary", "in all"}
    assert {name for name, line in lines.items() if line.high_money == "no price"} == unpriced
    assert 'No price is known for lab-adversary: add [prices."MODEL"] to the recipe.' in remarks


def test_a_price_of_nothing_is_nothing_and_little_money_is_not_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_recipe(tmp_path / "small.toml")
    path.write_text(
        f'{path.read_text()}\n[prices."lab-describer"]\ninput = 0.0\noutput = 0.0\n'
        '[prices."lab-adversary"]\ninput = 0.0\noutput = 0.1\n'
    )
    lines, _ = dry(path, capsys)
    assert lines["describe lab-describer"].money == "0.00"
    assert lines["derive lab-adversary"].money == "under 0.01"


def test_a_money_budget_with_a_model_that_has_no_price_is_2_and_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = priced(write_recipe(tmp_path / "small.toml"), MODELS[:-1])
    path.write_text(path.read_text() + "\n[budget]\nmoney = 5.0\n")
    assert main(["run", str(path), "--dry-run", "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert "without a price for 'lab-adversary'" in said.err
    assert said.out == ""


def test_the_budget_stands_below_the_estimate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = priced(write_recipe(tmp_path / "small.toml"))
    path.write_text(path.read_text() + '\n[budget]\nmoney = 5.0\ncurrency = "EUR"\ntokens = 1000\n')
    _, remarks = dry(path, capsys)
    assert "The budget stops the run at 5.00 EUR or 1,000 tokens." in remarks


@pytest.mark.parametrize("name", ["r1-onevision", "llava-cot"])
def test_the_papers_recipes_are_reckoned_before_anything_is_downloaded_and_priced_by_their_own_block(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packaged = Path(align.recipe.__file__).parent / "recipes" / f"{name}.toml"
    path = Path(shutil.copy(packaged, tmp_path))
    text = path.read_text().replace('accept_licence = ""', 'accept_licence = "cc-by-nc-4.0"', 1)
    path.write_text(text)
    lines, remarks = dry(path, capsys)
    assert lines["describe Qwen/Qwen2.5-VL-72B-Instruct"].calls == 15_500
    assert lines["in all"].money == "no price"
    start, end = text.index('# [prices."gpt-4o"]'), text.index("[roles.describer]")
    path.write_text(text[:start] + re.sub(r"(?m)^# ?", "", text[start:end]) + text[end:])
    lines, remarks = dry(path, capsys)
    assert float(lines["in all"].money.replace(",", "")) > 0
    assert "No price is known" not in remarks
    assert "The budget stops the run at " in remarks


def test_nobody_is_asked_and_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with scripted() as (server, url):
        path = write_recipe(tmp_path / "small.toml", teacher_at(url))
        before = files(tmp_path)
        dry(path, capsys)
        assert server.history == []
    assert files(tmp_path) == before


def own_rows(tmp_path: Path, categories: list[str | None]) -> dict[str, str]:
    """Changes that read a file of these rows, which states no count."""
    rows = []
    for number, category in enumerate(categories):
        picture = io.BytesIO()
        Image.new("RGB", (32, 32), (number, 0, 0)).save(picture, "PNG")
        image = f"data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()}"
        row = {"instruction": f"What is {number}?", "image": image} | (
            {"category": category} if category else {}
        )
        rows.append(json.dumps(row))
    (tmp_path / "own.jsonl").write_text("\n".join(rows))
    source = 'name = "local"\npath = "own.jsonl"\nlicence = "mine"'
    return {'name = "mini"\nsplit = "train"\ncount = 60': source}


def test_a_source_without_count_has_to_be_read_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_recipe(tmp_path / "small.toml", own_rows(tmp_path, [None] * 7))
    out = str(tmp_path / "run")
    assert main(["run", str(path), "--dry-run", "--out", out]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "a source without `count`" in said
    assert "--to queries" in said
    assert not (tmp_path / "run").exists()
    assert main(["run", str(path), "--to", "queries", "--out", out]) == 0
    lines, _ = dry(path, capsys)
    assert lines["describe lab-describer"].calls == 7
    said = told(path, capsys, "--dry-run", "--from", "queries")
    assert "with --from queries --to queries, and then --dry-run without --from" in said


def test_where_sources_are_trusted_the_categoriser_is_asked_for_the_rows_that_state_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = own_rows(tmp_path, ["P19", None, "P01", None, "P19"]) | {
        "trust_source = false": "trust_source = true"
    }
    path = write_recipe(tmp_path / "small.toml", changes)
    assert main(["run", str(path), "--to", "queries", "--out", str(tmp_path / "run")]) == 0
    line = dry(path, capsys)[0]["categorise lab-categoriser"]
    assert (line.calls, line.most_calls) == (2, 2 * 3)


def test_stages_that_are_complete_and_those_beyond_the_last_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_recipe(tmp_path / "small.toml", TWELVE)
    assert main(["run", str(path), "--to", "categorise", "--out", str(tmp_path / "run")]) == 0
    before = files(tmp_path)
    lines, _ = dry(path, capsys, "--to", "score")
    assert list(lines) == ["trajectories lab-teacher", "score lab-scorer", "in all"]
    lines, _ = dry(path, capsys, "--to", "categorise")
    assert lines["in all"] == Line(0, 0, 0, 0, 0, 0, "0.00", "0.00")
    assert files(tmp_path) == before


def test_what_an_unfinished_stage_has_kept_is_taken_off_and_told(
    interrupted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(interrupted.parent)
    lines, remarks = dry(interrupted, capsys)
    teacher = lines["trajectories lab-teacher"]
    assert (teacher.kept, teacher.calls, teacher.most_calls) == (KEPT, 12 - KEPT, 12 - KEPT)
    assert lines["score lab-scorer"].kept == 0
    assert lines["in all"].kept == KEPT
    assert "Kept replies are there already" in remarks
    assert files(interrupted.parent) == before


def test_only_what_is_left_is_paid_for(interrupted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = dry(priced(interrupted), capsys)[0]["trajectories lab-teacher"]
    assert line.money == f"{(12 - KEPT) * (line.prompt + 2 * line.completion):,}.00"
    assert line.high_money == f"{(12 - KEPT) * (line.long_prompt + 4 * line.completion):,}.00"


def test_never_less_than_nothing_is_left(interrupted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """More is kept than the recipe foresees, because it was made to foresee less."""
    categorise = interrupted.parent / "run" / "categorise" / "manifest.json"
    categorise.write_text(json.dumps(json.loads(categorise.read_text()) | {"rows": KEPT - 2}))
    line = dry(interrupted, capsys)[0]["trajectories lab-teacher"]
    assert (line.kept, line.calls, line.most_calls) == (KEPT, 0, 0)


def test_replies_of_another_model_answer_nothing(
    interrupted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupted.write_text(interrupted.read_text().replace('"lab-teacher"', '"another-teacher"'))
    line = dry(interrupted, capsys, "--from", "trajectories")[0]["trajectories another-teacher"]
    assert (line.kept, line.calls) == (0, 12)


def test_replies_of_an_earlier_making_are_not_taken_off(
    interrupted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The stage was begun anew with another temperature: what is kept of it may answer nothing."""
    time.sleep(1.1)  # times are kept to the second
    out = str(interrupted.parent / "run")
    with scripted(Scripted(status=503)) as (_, url):
        text = re.sub(r'base_url = ".*"', f'base_url = "{url}"', interrupted.read_text())
        interrupted.write_text(text.replace("temperature = 0.6", "temperature = 0.5", 1))
        assert main(["run", str(interrupted), "--from", "trajectories", "--to", "pairs", "--out", out]) == 1
    line = dry(interrupted, capsys)[0]["trajectories lab-teacher"]
    assert (line.kept, line.calls) == (0, 12)


def told(path: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command says that stops for what the user can mend."""
    capsys.readouterr()
    assert main(["run", str(path), "--out", str(path.parent / "run"), *arguments]) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "stage"),
    [
        ("temperature = 0.6", "temperature = 0.5", "trajectories"),  # unfinished
        ("trust_source = false", "trust_source = true", "queries"),  # complete
        ('model = "lab-describer"', 'model = "another"', "describe"),
    ],
)
def test_what_a_changed_recipe_would_stop_stops_the_dry_run_in_the_same_words(
    interrupted: Path, old: str, new: str, stage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupted.write_text(interrupted.read_text().replace(old, new, 1))
    before = files(interrupted.parent / "run" / stage)
    said = told(interrupted, capsys, "--dry-run")
    assert f"the recipe's part for {stage}. Make it again with --from {stage}" in said
    assert said == told(interrupted, capsys).splitlines(keepends=True)[-1]
    assert files(interrupted.parent / "run" / stage) == before
    dry(interrupted, capsys, "--from", stage)


def test_a_stage_before_the_one_to_begin_with_has_to_be_of_this_recipe(
    interrupted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = interrupted.read_text().replace('model = "lab-describer"', 'model = "another"')
    interrupted.write_text(changed)
    said = told(interrupted, capsys, "--dry-run", "--from", "trajectories")
    assert "the recipe's part for describe" in said


def test_an_unfinished_stage_is_compared_even_while_an_earlier_one_is_unfinished_too(
    interrupted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = interrupted.parent / "run"
    (run / "categorise" / "manifest.json").unlink()
    assert dry(interrupted, capsys)[0]["trajectories lab-teacher"].kept == KEPT
    text = interrupted.read_text()
    interrupted.write_text(text.replace("temperature = 0.6", "temperature = 0.5", 1))
    assert "the recipe's part for trajectories" in told(interrupted, capsys, "--dry-run")
    (run / "trajectories" / "origin.json").write_text("{}")
    assert "origin.json cannot be read" in told(interrupted, capsys, "--dry-run")


def test_rows_that_were_changed_by_hand_stop_the_dry_run(
    interrupted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (interrupted.parent / "run" / "categorise" / "rows.jsonl").open("a") as file:
        file.write("\n")
    assert "was changed after it was written" in told(interrupted, capsys, "--dry-run")


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe of a run of the lab that is complete up to `score`."""
    path = write_recipe(tmp_path_factory.mktemp("scored") / "small.toml", TWELVE)
    assert main(["run", str(path), "--to", "score", "--out", str(path.parent / "run")]) == 0
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe of a run that is complete up to `trajectories`, with one rejected trajectory."""
    directory = tmp_path_factory.mktemp("finished")
    script = [*[Scripted()] * 5, Scripted(status=400), Scripted()]
    with scripted(*script) as (_, url):
        path = write_recipe(directory / "small.toml", TWELVE | teacher_at(url, concurrency=1, retries=0))
        assert main(["run", str(path), "--to", "trajectories", "--out", str(directory / "run")]) == 0
    return path


def test_a_complete_stage_that_is_made_again_asks_what_it_never_was_told(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Eleven replies outlast `--from`, the rejection does not."""
    before = files(finished.parent)
    assert "trajectories lab-teacher" not in dry(finished, capsys)[0]
    line = dry(finished, capsys, "--from", "trajectories")[0]["trajectories lab-teacher"]
    assert (line.kept, line.calls, line.most_calls) == (11, 1, 1)
    assert files(finished.parent) == before


def test_nothing_is_taken_off_where_a_stage_made_again_may_ask_something_else(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those who describe again may describe differently; categories do not hang on the teacher."""
    lines, remarks = dry(finished, capsys, "--from", "describe")
    assert "A stage that is made again may cost less" in remarks
    assert "made again" not in dry(finished, capsys)[1]
    assert (lines["describe lab-describer"].kept, lines["describe lab-describer"].calls) == (12, 0)
    for name in ("categorise lab-categoriser", "trajectories lab-teacher"):
        assert (lines[name].kept, lines[name].calls) == (0, 12)
    assert "categorise lab-categoriser" not in dry(finished, capsys, "--from", "trajectories")[0]


def test_queries_that_are_read_again_are_as_many_as_the_recipe_says(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = shutil.copytree(finished.parent, tmp_path / "copy") / finished.name
    path.write_text(path.read_text().replace("count = 12", "count = 40", 1))
    lines, _ = dry(path, capsys, "--from", "queries")
    names = ("describe lab-describer", "categorise lab-categoriser", "trajectories lab-teacher")
    assert [(lines[name].kept, lines[name].calls) for name in names] == [(0, 40)] * 3


def test_an_unfinished_stage_to_begin_with_goes_on_and_asks_anew_what_was_rejected(
    interrupted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the six kept one is a rejection."""
    line = dry(interrupted, capsys, "--from", "trajectories")[0]["trajectories lab-teacher"]
    assert (line.kept, line.calls) == (KEPT - 1, 12 - KEPT + 1)


def test_what_workers_left_counts_before_it_is_taken_in(
    interrupted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = interrupted.parent / "run" / "calls.sqlite"
    (store.parent / "calls").mkdir()
    shutil.copy(store, store.parent / "calls" / "worker-0.sqlite")
    assert dry(interrupted, capsys)[0]["trajectories lab-teacher"].kept == KEPT  # each once
    store.unlink()
    assert dry(interrupted, capsys)[0]["trajectories lab-teacher"].kept == KEPT
    assert not store.exists()


def test_a_run_that_is_at_work_can_be_looked_at(
    interrupted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = interrupted.parent / "run" / "calls.sqlite"
    with closing(sqlite3.connect(store, isolation_level=None)) as running:
        running.execute("BEGIN IMMEDIATE")
        running.execute("DELETE FROM rejections")  # not committed
        assert dry(interrupted, capsys)[0]["trajectories lab-teacher"].kept == KEPT
        running.execute("COMMIT")
        assert dry(interrupted, capsys)[0]["trajectories lab-teacher"].kept == KEPT - 1


def test_a_store_that_is_none_is_2_and_named(interrupted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = interrupted.parent / "run" / "calls.sqlite"
    for content, fault in ((b"no database" * 100, "is damaged"), (None, "is of another version of align")):
        store.unlink()
        if content is None:
            with closing(sqlite3.connect(store)) as file:
                file.execute("CREATE TABLE other (a)")
        else:
            store.write_bytes(content)
        assert main(["run", str(interrupted), "--dry-run", "--out", str(store.parent)]) == 2
        assert f"{store} {fault}" in capsys.readouterr().err


def test_a_store_that_is_missing_is_not_made(interrupted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = interrupted.parent / "run" / "calls.sqlite"
    store.unlink()
    assert dry(interrupted, capsys)[0]["trajectories lab-teacher"].calls == 12
    assert not store.exists()


def test_names_stand_whole_where_the_table_goes_into_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "Somebody/A-Very-Long-Vision-Language-Reasoner-72B-Instruct[preview]"
    path = write_recipe(tmp_path / "small.toml", {'"lab-teacher"': f'"{name}"'})
    lines, remarks = dry(path, capsys)
    assert f"trajectories {name}" in lines
    assert name in remarks
