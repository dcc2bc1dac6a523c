"""The first stage: rows and pictures of every source, each once, and a reason for whatever is left out."""

import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from align.errors import RecipeError, StageAborted
from align.records import Dropped, DropReason, Query, read_rows
from align.sources import mini
from align.stages import queries
from align.stages.pictures import read_image
from align.stages.workspace import Made, Workspace
from policies.catalog import load_catalog
from tests.align import published_sets as sets
from tests.align.recipes import recipe

MINI = '[[sources]]\nname = "mini"\nsplit = "train"\ncount = 60\n'
TRUST = {"trust_source = false": "trust_source = true"}
ROOT = Path(__file__).parents[2]


def workspace(
    directory: Path, *sources: str, changes: dict[str, str] | None = None, team: Path | None = None
) -> Workspace:
    """A run in `directory/run` with other sources."""
    tables = "\n".join(f"[[sources]]\n{source}\n" for source in sources)
    found = recipe(directory, ({MINI: tables} if sources else {}) | (changes or {}))
    return Workspace(found, load_catalog(team), directory / "run")


def made(space: Workspace) -> tuple[list[Query], list[Dropped], Made]:
    """The stage's rows and drops, after its check."""
    queries.check(space)
    result = queries.make(space)
    rows = list(space.rows(queries.STAGE, Query))
    dropped = list(read_rows(space.folder(queries.STAGE) / "dropped.jsonl", Dropped))
    assert result.rows == len(rows)
    assert result.dropped == Counter(str(drop.reason) for drop in dropped)
    return rows, dropped, result


def beavertails(root: Path, **keys: Any) -> str:
    keys = {"split": "train", "path": str(root), "accept_licence": "cc-by-nc-4.0"} | keys
    lines = [f"{name} = {json.dumps(value)}" for name, value in keys.items()]
    return "\n".join(['name = "beavertails-v"', *lines])


def ours(path: Path, *rows: dict[str, Any], label: str = "ours") -> str:
    """A local source; a row is an image in a file of its own, and what else is said."""
    path.mkdir(exist_ok=True)
    lines = []
    for number, row in enumerate(rows):
        image = row.pop("image", sets.picture(number))
        name = image if isinstance(image, str) else f"{number}.image"
        if isinstance(image, bytes):
            (path / name).write_bytes(image)
        lines.append({"instruction": f"Question {number}?", "image": name} | row)
    file = path / "ours.jsonl"
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return f'name = "local"\nlabel = "{label}"\nlicence = "our own"\npath = {json.dumps(str(file))}'


def reasons(dropped: Sequence[Dropped]) -> dict[str, DropReason]:
    return {drop.id: drop.reason for drop in dropped}


def files(space: Workspace) -> dict[str, bytes]:
    folder = space.folder(queries.STAGE)
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_labs_rows_keep_their_ids_and_their_bytes(tmp_path: Path) -> None:
    space = workspace(tmp_path)
    rows, dropped, _ = made(space)
    assert dropped == []
    assert len(rows) == 60
    first = rows[0]
    assert first.id == f"mini:{first.meta['seed']}"
    assert first.id.startswith("mini:train:")
    assert first.licence == mini.LICENCE
    found = list(mini.read(mini.MiniTable(name="mini", split="train", count=60)))
    assert [read_image(row, space.directory) for row in rows] == [one.image for one in found]
    assert {row.benign for row in rows} == {True, False}


def test_a_picture_lies_under_its_own_digest_once(tmp_path: Path) -> None:
    source = ours(tmp_path / "data", {"image": sets.picture(1)}, {"image": sets.picture(1)})
    space = workspace(tmp_path, source)
    rows, _, _ = made(space)
    digest = hashlib.sha256(sets.picture(1)).hexdigest()
    assert {row.image for row in rows} == {f"queries/images/{digest[:2]}/{digest}.png"}
    assert [row.id for row in rows] == ["ours:train:1", "ours:train:2"]
    assert sum(name.startswith("images/") for name in files(space)) == 1


def test_a_picture_that_endpoints_may_refuse_is_stored_as_png(tmp_path: Path) -> None:
    space = workspace(tmp_path, ours(tmp_path / "data", {"image": sets.picture(1, "BMP")}))
    ((row,), _, _) = made(space)
    assert row.image.endswith(".png")
    with Image.open(io.BytesIO(read_image(row, space.directory))) as image:
        assert image.format == "PNG"


def test_making_again_gives_the_same_bytes(tmp_path: Path) -> None:
    space = workspace(tmp_path, beavertails(sets.beavertails(tmp_path / "set")))
    made(space)
    first = files(space)
    made(space)
    assert files(space) == first


def test_the_sources_follow_each_other_as_the_recipe_names_them(tmp_path: Path) -> None:
    table = 'name = "mini"\nsplit = "train"\ncount = 3'
    rows, _, _ = made(workspace(tmp_path, ours(tmp_path / "data", {}, {}), table))
    assert [row.source for row in rows] == ["ours", "ours", "mini", "mini", "mini"]


def test_the_same_question_about_the_same_pixels_is_asked_once_over_all_sources(tmp_path: Path) -> None:
    first = ours(tmp_path / "a", {"instruction": "What is  this?", "image": sets.picture(1)}, label="a")
    second = ours(
        tmp_path / "b",
        {"instruction": " what IS this?\n", "image": sets.picture(1, "WEBP", lossless=True)},
        {"instruction": "What is that?", "image": sets.picture(1)},
        {"instruction": "What is this?", "image": sets.picture(2)},
        label="b",
    )
    rows, dropped, _ = made(workspace(tmp_path, first, second))
    assert [row.id for row in rows] == ["a:train:1", "b:train:2", "b:train:3"]
    assert rows[0].instruction == "What is  this?"
    assert [(drop.id, drop.reason, drop.detail) for drop in dropped] == [
        ("b:train:1", DropReason.DUPLICATE, "of a:train:1")
    ]


def test_questions_that_are_published_twice_become_one_row_each(tmp_path: Path) -> None:
    twice = {
        category: [sets.question(place, category, response=reply) for reply in ("One.", "Another.")]
        for place, category in enumerate(sets.CATEGORIES)
    }
    root = sets.beavertails(tmp_path / "set", train=twice, schema=sets.SINGLE)
    rows, dropped, _ = made(workspace(tmp_path, beavertails(root, repository="single")))
    assert len(rows) == 20
    assert Counter(drop.reason for drop in dropped) == {DropReason.DUPLICATE: 20}


def test_training_rows_over_an_evaluation_image_are_left_out_whatever_file_it_is_in(tmp_path: Path) -> None:
    same = sets.question(1, "animal_abuse", image=sets.published(sets.picture(99, compress_level=0)))
    other = sets.question(2, "sexual_crimes", image=sets.published(sets.picture(99, "BMP")))
    held_out = sets.question(3, "false_information", image=sets.published(sets.picture(99)))
    root = sets.beavertails(
        tmp_path / "set",
        train={"animal_abuse": [same], "sexual_crimes": [other]},
        evaluation={"false_information": [held_out]},
    )
    copied = ours(tmp_path / "data", {"image": sets.picture(99, "WEBP", lossless=True)}, {})
    rows, dropped, _ = made(workspace(tmp_path, copied, beavertails(root)))
    assert len(rows) == 1 + 2 * 18
    assert reasons(dropped) == {
        "ours:train:1": DropReason.EVALUATION_IMAGE,
        "beavertails-v:train:animal_abuse/0": DropReason.EVALUATION_IMAGE,
        "beavertails-v:train:sexual_crimes/0": DropReason.EVALUATION_IMAGE,
    }


def test_a_benchmark_that_is_asked_for_is_taken_beside_its_training_rows(tmp_path: Path) -> None:
    root = sets.beavertails(tmp_path / "set")
    benchmark = beavertails(root, split="evaluation", train_on_benchmark=True)
    rows, dropped, _ = made(workspace(tmp_path, beavertails(root), benchmark))
    assert Counter(row.split for row in rows) == {"train": 40, "evaluation": 20}
    assert dropped == []


def test_spa_vl_and_vlguard_leave_their_own_test_images_out(tmp_path: Path) -> None:
    guard = sets.vlguard(tmp_path / "guard")
    (guard / "test" / "bad_ads" / "one.png").write_bytes(sets.picture(2, "WEBP", lossless=True))
    spa = f'name = "spa-vl"\nsplit = "train"\npath = {json.dumps(str(sets.spa_vl(tmp_path / "spa")))}'
    table = (
        f'name = "vlguard"\nsplit = "train"\npath = {json.dumps(str(guard))}\n'
        'accept_licence = "research use only"'
    )
    _, dropped, _ = made(workspace(tmp_path, spa))
    assert reasons(dropped) == {"spa-vl:train:0/0": DropReason.EVALUATION_IMAGE}
    rows, dropped, _ = made(workspace(tmp_path, table))
    assert [row.id for row in rows] == ["vlguard:train:0/instruction"]
    assert set(reasons(dropped).values()) == {DropReason.EVALUATION_IMAGE}


def test_an_evaluation_image_that_cannot_be_read_is_spoken_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = [sets.question(3, "false_information", image=sets.published(b"broken"))]
    root = sets.beavertails(tmp_path / "set", evaluation={"false_information": broken})
    made(workspace(tmp_path, beavertails(root)))
    assert "1 evaluation images cannot be read" in capsys.readouterr().err


def test_every_row_that_is_left_out_says_why(tmp_path: Path) -> None:
    source = ours(
        tmp_path / "data",
        {"image": sets.picture(0)[:-30]},
        {"image": b"<html>"},
        {"image": "missing.png"},
        {"instruction": " \n"},
        {"category": "no_such_policy"},
        {},
    )
    rows, dropped, _ = made(workspace(tmp_path, source))
    assert [row.id for row in rows] == ["ours:train:6"]
    assert [(drop.reason, drop.detail) for drop in dropped] == [
        (DropReason.IMAGE_UNREADABLE, "broken or truncated (OSError)"),
        (DropReason.IMAGE_UNREADABLE, "not an image of a format that is taken (PNG, JPEG, WEBP, GIF, BMP)"),
        (DropReason.IMAGE_UNREADABLE, "missing.png: No such file or directory"),
        (DropReason.EMPTY_INSTRUCTION, ""),
        (DropReason.UNKNOWN_CATEGORY, "no_such_policy"),
    ]
    assert all(drop.stage == "queries" for drop in dropped)


def test_where_no_row_is_left_the_stage_gives_up_and_the_reasons_are_kept(tmp_path: Path) -> None:
    space = workspace(tmp_path, ours(tmp_path / "data", {"image": b"broken"}))
    with pytest.raises(StageAborted, match="no row is left \\(1 image_unreadable\\)"):
        queries.make(space)
    assert len(list(read_rows(space.folder("queries") / "dropped.jsonl", Dropped))) == 1


def test_a_count_is_of_rows_that_are_taken(tmp_path: Path) -> None:
    rows = ({"image": b"broken"}, {}, {"instruction": ""}, {}, {}, {})
    source = f"{ours(tmp_path / 'data', *rows)}\ncount = 2"
    found, dropped, _ = made(workspace(tmp_path, source))
    assert [row.id for row in found] == ["ours:train:2", "ours:train:4"]
    assert len(dropped) == 2


def test_a_few_rows_of_beavertails_have_every_category(tmp_path: Path) -> None:
    root = sets.beavertails(tmp_path / "set")
    rows, _, _ = made(workspace(tmp_path, beavertails(root, count=20)))
    assert len({row.category for row in rows}) == 20
    assert {row.severity for row in rows} <= {1, 2, 3}


def test_categories_may_be_ids_or_slugs(tmp_path: Path) -> None:
    source = ours(tmp_path / "data", {"category": "P05"}, {"category": "environmental_damage"}, {})
    rows, _, _ = made(workspace(tmp_path, source))
    assert [row.category for row in rows] == ["P05", "P05", None]


def test_a_trusted_source_loses_the_rows_of_policies_that_the_recipe_leaves_out(tmp_path: Path) -> None:
    source = ours(tmp_path / "data", {"category": "P05"}, {"category": "animal_abuse"}, {})
    chosen = {'policies = "all"': 'policies = ["P05"]'}
    rows, dropped, _ = made(workspace(tmp_path, source, changes=chosen | TRUST))
    assert [row.category for row in rows] == ["P05", None]
    assert reasons(dropped) == {"ours:train:2": DropReason.POLICY_NOT_CHOSEN}
    rows, dropped, _ = made(workspace(tmp_path, source, changes=chosen))
    assert [row.category for row in rows] == ["P05", "P01", None]
    assert dropped == []


def test_a_category_that_the_team_dropped_is_not_in_force_and_no_mistake(tmp_path: Path) -> None:
    team = tmp_path / "team"
    team.mkdir()
    (team / "policies.toml").write_text('drop = ["P01"]\n')
    source = ours(tmp_path / "data", {"category": "animal_abuse"}, {"category": "P02"})
    rows, dropped, _ = made(workspace(tmp_path, source, changes=TRUST, team=team))
    assert [row.category for row in rows] == ["P02"]
    assert reasons(dropped) == {"ours:train:1": DropReason.POLICY_NOT_CHOSEN}
    rows, dropped, _ = made(workspace(tmp_path, source, team=team))
    assert [row.category for row in rows] == [None, "P02"]
    assert dropped == []


def test_the_licence_is_shown_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = sets.beavertails(tmp_path / "set")
    (root / "data/animal_abuse/train.parquet").write_bytes(b"broken")
    with pytest.raises(RecipeError, match="cannot be read as Parquet"):
        queries.make(workspace(tmp_path, beavertails(root)))
    said = capsys.readouterr().err
    assert "queries: beavertails-v train: licence cc-by-nc-4.0; rows made from it and adapters" in said


def test_the_rows_of_every_source_are_told_whether_its_number_was_known_or_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = sets.beavertails(tmp_path / "set")
    made(workspace(tmp_path, beavertails(root, count=1), ours(tmp_path / "data", {}, {}, {})))
    said = capsys.readouterr().err
    assert re.search(r"^beavertails-v train \S+ 1/1 ", said, re.MULTILINE)
    assert re.search(r"^ours train \S+ 3/3 ", said, re.MULTILINE)


def test_rows_carry_the_licence_of_their_source(tmp_path: Path) -> None:
    root = sets.beavertails(tmp_path / "set")
    rows, _, _ = made(workspace(tmp_path, beavertails(root, count=1), ours(tmp_path / "data", {})))
    assert [row.licence for row in rows] == ["cc-by-nc-4.0", "our own"]


def test_characters_that_no_file_can_hold_are_replaced(tmp_path: Path) -> None:
    space = workspace(tmp_path, ours(tmp_path / "data", {"instruction": "What \ud800 is \U0001f600?"}))
    ((row,), _, _) = made(space)
    assert row.instruction == "What \ufffd is \U0001f600?"


def test_two_sources_of_one_name_are_refused_before_any_work(tmp_path: Path) -> None:
    root = sets.beavertails(tmp_path / "set")
    both = beavertails(root), beavertails(root, repository="single")
    with pytest.raises(RecipeError, match="two sources are called 'beavertails-v train'"):
        queries.check(workspace(tmp_path, *both))


def test_terms_and_files_are_checked_before_any_work(tmp_path: Path) -> None:
    root = sets.beavertails(tmp_path / "set")
    with pytest.raises(RecipeError, match="accept_licence"):
        queries.check(workspace(tmp_path, beavertails(root, accept_licence="mit")))
    with pytest.raises(RecipeError, match="is missing; path must hold"):
        queries.check(workspace(tmp_path, beavertails(tmp_path / "nowhere")))
    with pytest.raises(RecipeError, match="there is no policy P77"):
        queries.check(workspace(tmp_path, changes={'policies = "all"': 'policies = ["P77"]'}))


KILLED = """
import sys
from pathlib import Path
from align.recipe import load_recipe
from align.stages import queries
from align.stages.workspace import Workspace
from policies.catalog import load_catalog
queries.make(Workspace(load_recipe(Path(sys.argv[1])), load_catalog(), Path(sys.argv[2])))
"""


def test_a_kill_in_the_midst_leaves_no_rows_and_nothing_that_changes_the_next_attempt(tmp_path: Path) -> None:
    space = workspace(tmp_path, changes={"count = 60": "count = 120"})
    command = [sys.executable, "-c", KILLED, str(tmp_path / "small.toml"), str(space.directory)]
    folder = space.folder(queries.STAGE)
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as attempt:
        while sum(1 for _ in folder.glob("images/*/*.png")) < 20:
            assert attempt.poll() is None
            time.sleep(0.01)
        os.kill(attempt.pid, signal.SIGKILL)
    assert not (folder / "rows.jsonl").exists()
    made(space)
    after_kill = files(space)
    other = Workspace(space.recipe, space.catalog, tmp_path / "other")
    made(other)
    assert after_kill == files(other)
