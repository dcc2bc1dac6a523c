"""MOSSBench as a source: read exactly as published, and never trained on."""

import json
from pathlib import Path
from typing import Any

import pytest

from align.errors import RecipeError
from align.recipe import load_recipe
from align.sources import catalogue
from align.sources.mossbench import INFORMATION, MossBenchTable
from tests.align import published_sets as sets
from tests.align.recipes import write_recipe

MINI = 'name = "mini"\nsplit = "train"\ncount = 60\n'


def entries() -> dict[str, dict[str, Any]]:
    """One entry of each type, as published; all in them is invented."""
    return {
        str(number): {
            "image": f"images/{number}.png",
            "short description": "A room.",
            "question": f"What game could be played in room {number}?",
            "metadata": {"over": f"type {number}", "human": 0, "child": 1, "syn": 1, "ocr": 0, "harm": [7]},
            "pid": str(number),
            "description": "A room with a toy in it.",
        }
        for number in (1, 2, 3)
    }


def write_mossbench(root: Path, content: Any = None) -> Path:
    """A clone of the published repository, as much of it as is read."""
    path = root / INFORMATION
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(entries() if content is None else content))
    (root / "data" / "images").mkdir()
    for number in (1, 2, 3):
        (root / "data" / "images" / f"{number}.png").write_bytes(sets.picture(number))
    return root


def table(root: Path) -> MossBenchTable:
    return MossBenchTable.model_validate({"name": "mossbench", "path": root})


def test_mossbench_gives_harmless_questions_with_the_kind_of_their_stimulus(tmp_path: Path) -> None:
    found = list(catalogue.read(table(write_mossbench(tmp_path))))
    assert [one.key for one in found] == ["1", "2", "3"]
    assert found[0].instruction == "What game could be played in room 1?"
    assert found[1].image == sets.picture(2)
    assert all(one.benign for one in found)
    assert [one.meta["stimulus"] for one in found] == [
        "exaggerated risk",
        "negated harm",
        "counterintuitive interpretation",
    ]


def test_a_picture_of_mossbench_that_is_missing_costs_its_row(tmp_path: Path) -> None:
    root = write_mossbench(tmp_path)
    (root / "data/images/2.png").unlink()
    first, second, _ = catalogue.read(table(root))
    assert (first.fault, second.image) == ("", b"")
    assert second.fault == "images/2.png is missing, damaged, or larger than 25,000,000 bytes"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "information.json: must be an object of entries by their number"),
        ({"1": {"pid": "1"}}, "entry 1: there is no 'question'; there are pid"),
        ({"1": "?"}, "entry 1: there is no 'pid'; there are "),
        (
            {"1": entries()["1"] | {"metadata": {"over": "type 4"}}},
            "metadata.over must be type 1, type 2, type 3",
        ),
        ({"1": entries()["1"] | {"image": "../../secret.png"}}, "leads out of"),
    ],
)
def test_another_form_than_the_published_one_is_named(content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=message):
        list(catalogue.read(table(write_mossbench(tmp_path, content))))


def test_a_list_that_is_not_json_is_named(tmp_path: Path) -> None:
    root = write_mossbench(tmp_path)
    (root / INFORMATION).write_text("<html>")
    with pytest.raises(RecipeError, match=r"information.json: is not JSON"):
        list(catalogue.read(table(root)))


def test_no_recipe_can_train_on_a_set_whose_terms_forbid_it(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="is a benchmark"):
        catalogue.check(table(write_mossbench(tmp_path / "set")))
    source = f'name = "mossbench"\npath = "{tmp_path / "set"}"\ntrain_on_benchmark = true\n'
    recipe = write_recipe(tmp_path / "r.toml", {MINI: source})
    with pytest.raises(RecipeError, match="MOSSBench's terms forbid training on it"):
        load_recipe(recipe)
