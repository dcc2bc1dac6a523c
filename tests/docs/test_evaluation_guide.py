"""The evaluation guide names every key, task, score and variant that there is, and none that there is not."""

import ast
import re
import shlex
from pathlib import Path

import pytest

from align.__main__ import _parser
from align.baselines.variants import VARIANTS
from align.evaluate.lab import truth as lab
from align.evaluate.lab.benchmarks import BENCHMARKS, items
from align.evaluate.lmms import ABILITIES, VERSION
from align.evaluate.recipe import (
    Ability,
    Attention,
    Benchmark,
    Compare,
    Evaluated,
    Evaluation,
    Faithful,
    Judge,
    Pace,
    load_evaluation,
)
from align.evaluate.statistics import RESAMPLES
from align.mini import held_out
from align.table import Table

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "evaluation.md").read_text()
EVALUATE = ROOT / "align" / "evaluate"
COMMANDS = re.findall(r"^\$ \.venv/bin/python -m align ([^#\n]+)", GUIDE, re.MULTILINE)
TABLES: dict[str, type[Table]] = {
    "the recipe itself": Evaluation,
    "`[[models]]`": Evaluated,
    "`[[benchmarks]]`": Benchmark,
    "`[[judges]]`": Judge,
    "`[pace]`": Pace,
    "`[compare]`": Compare,
    "`[faithful]`": Faithful,
    "`[attention]`": Attention,
    "`[ability]`": Ability,
}


def rows(heading: str) -> list[list[str]]:
    """The cells of the table whose first heading is this, row by row."""
    (table,) = re.findall(rf"^\| {re.escape(heading)} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", GUIDE, re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split(" |")] for line in table.splitlines()]


def named(heading: str) -> list[str]:
    """What stands as code in the first column of that table."""
    return [name for row in rows(heading) for name in re.findall(r"`([^`]+)`", row[0])]


def tasks() -> dict[str, Path]:
    """Every task of the package, and its file."""
    found: dict[str, Path] = {}
    for path in (EVALUATE / "tasks").glob("*.py"):
        found |= dict.fromkeys(re.findall(r"^@task\ndef (\w+)", path.read_text(), re.MULTILINE), path)
    return found


def words_in(path: Path) -> set[str]:
    """Every string that a module spells out."""
    nodes = ast.walk(ast.parse(path.read_text()))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def test_there_are_commands() -> None:
    assert {command.split()[0] for command in COMMANDS} == {"evaluate", "faithful", "ability", "mini"}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_one(command: str) -> None:
    _parser().parse_args(shlex.split(command))


def test_every_option_is_one() -> None:
    told = set(re.findall(r"`(--[a-z-]+)`", GUIDE))
    commands = ("baselines/command", "evaluate/command", "evaluate/faithful_command", "evaluate/lmms_command")
    known: set[str] = set().union(*(words_in(ROOT / "align" / f"{name}.py") for name in commands))
    assert told - known == set()


def test_the_recipes_that_are_named_are_packaged_and_right() -> None:
    for name in set(re.findall(r"recipes/[\w/-]+\.toml", GUIDE)):
        assert load_evaluation(ROOT / "align" / name).models


def test_the_recipe_on_the_page_is_one(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)
    (tmp_path / "ours.toml").write_text(example)
    recipe = load_evaluation(tmp_path / "ours.toml")
    assert {benchmark.task for benchmark in recipe.benchmarks} <= tasks().keys()


@pytest.mark.parametrize("heading", TABLES)
def test_every_key_is_told_and_no_other(heading: str) -> None:
    told = named(f"key of {heading}")
    assert sorted(told) == sorted(TABLES[heading].model_fields)


def test_every_task_is_told_and_no_other() -> None:
    assert sorted(named("task")) == sorted(tasks())


def test_what_is_said_of_a_tasks_judge_and_size_holds() -> None:
    sizes = {row[0].strip("`| "): (row[2], row[3]) for row in rows("task")}
    for name, (judge, size) in sizes.items():
        if name.startswith("mini_"):
            assert (judge, size) == ("no", f"{BENCHMARKS[name.replace('_', '-')].size:,}")
        else:
            assert judge == "yes"


def test_every_parameter_of_a_task_that_is_told_is_one() -> None:
    sources = "".join(path.read_text() for path in set(tasks().values()))
    for name in ("picture", "repository", "judge_retries", "harmful_only", "view", "first_format", "judged"):
        assert f"`{name}" in GUIDE
        assert re.search(rf"\b{name}: ", sources)


def test_every_score_is_told_and_no_other() -> None:
    from align.evaluate.judges.rubrics import MODES
    from align.evaluate.reply import View
    from align.evaluate.tasks.win_rate import RUBRICS
    from tests.align.test_lab_benchmarks import right

    posed = next(items("mini-btv")).situation
    reply, truth = right(posed), posed.truth
    keys = {
        "harm": set(map(str, View)) & lab.harm(reply, truth).keys(),
        "truth": set(lab.harm(reply, truth)),
        "refusal": {*lab.refusal(reply), "says_unsafe"},
        "effective": {"answer", "and_safe"},
        "correct": set(lab.correct(reply, truth)),
        "failure_modes": set(MODES) & lab.failure_modes(reply, truth).keys(),
        "win_rate": set(RUBRICS),
        "trace": {*lab.trace(reply, truth), "citations_valid"},
    }
    assert sorted(named("score")) == sorted(f"{name}.{key}" for name, found in keys.items() for key in found)
    assert "says_unsafe" in words_in(EVALUATE / "scorers" / "refusal.py")
    assert {"answer", "and_safe"} <= words_in(EVALUATE / "scorers" / "effective.py")
    assert {"parsed", "citations_valid"} <= words_in(EVALUATE / "trace_scorer.py")


def test_which_way_a_score_should_go_is_what_the_report_says() -> None:
    from align.evaluate.gather import better

    for name, _, way in rows("score"):
        assert {better(measure) for measure in re.findall(r"`([^`]+)`", name)} == {way.strip("| ")}


def test_every_variant_is_told_and_no_other() -> None:
    assert sorted(named("variant")) == sorted(variant.name for variant in VARIANTS)


def test_what_is_held_out_is_counted_right() -> None:
    assert named("held out by") == ["object", "template", "combination"]
    assert sorted(held_out.HeldOut) == sorted(named("held out by"))
    assert f"{len(held_out.THINGS)} things and {len(held_out.SIGNS)} words of signs" in GUIDE
    assert f"{len(held_out.PAIRS)} pairs of a wish and a thing" in GUIDE


def test_the_programs_that_are_called_and_the_numbers_are_those_of_the_code() -> None:
    assert f"lmms-eval {VERSION}" in GUIDE
    assert f"{RESAMPLES:,} times" in GUIDE
    assert all(f"`{name}`" in GUIDE for name in ABILITIES)


def test_every_file_that_is_named_is_there() -> None:
    for path in re.findall(r"`((?:align|tests)/[\w/]+\.py)`", GUIDE):
        assert (ROOT / path).is_file(), path
