"""General ability in an evaluation's results: whose it is, and that nothing is lost where it is missing."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from align.__main__ import main
from align.evaluate.rates import wilson
from align.evaluate.results import Rate
from tests.align.evaluating import HARNESS_WARNS, LAMPS, PACE, place_of_its_own, results
from tests.align.scripted_model import Said, ScriptedModel

pytestmark = HARNESS_WARNS


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with place_of_its_own(tmp_path, monkeypatch):
        yield


def wrote(directory: Path, *models: str, hits: int = 300) -> None:
    """What `python -m align ability` leaves of these models."""
    directory.mkdir(parents=True)
    rates = [
        Rate(
            task="gqa", model=name, measure="correct.answer", better="higher",
            n=500, unscored=20, rate=wilson(hits, 480),
        )
        for name in models
    ]  # fmt: skip
    (directory / "ability.json").write_bytes(TypeAdapter(list[Rate]).dump_json(rates))


def evaluated(tmp_path: Path, keys: str, *models: tuple[str, str]) -> str:
    """Models by their names in the recipe and at their endpoint, asked one lamp each; returns the page."""
    with ScriptedModel(lambda text: Said("no")).serving() as model:
        places = [
            f'[[models]]\nname = "{name}"\nbase_url = "{model.base_url}"\nmodel = "{there}"\n'
            for name, there in models
        ]
        recipe = tmp_path / "able.toml"
        recipe.write_text(
            "".join(places) + f'[[benchmarks]]\nname = "{LAMPS}:lamps"\ncount = 1\n{PACE}{keys}'
        )
        assert main(["evaluate", str(recipe), "--out", str(tmp_path / "out")]) == 0
    return (tmp_path / "out" / "report.html").read_text()


def able(tmp_path: Path) -> dict[str, Rate]:
    return {one.model: one for one in results(tmp_path).rates if one.task == "gqa"}


def test_rates_stand_in_the_table_under_the_models_whose_names_they_bear(tmp_path: Path) -> None:
    wrote(tmp_path / "ability" / "first", "pst", hits=300)
    wrote(tmp_path / "ability" / "second", "reasoner-7b", hits=320)
    page = evaluated(tmp_path, '[ability]\nresults = "ability"\n', ("base", "reasoner-7b"), ("pst", "x"))
    found = able(tmp_path)
    assert (found["pst"].rate, found["base"].rate) == (wilson(300, 480), wilson(320, 480))
    assert (found["pst"].n, found["pst"].unscored, found["pst"].distinct) == (500, 20, None)
    assert "gqa" in page
    assert {one.task for one in results(tmp_path).rates} == {"lamps", "gqa"}


def test_one_run_s_own_directory_can_be_named(tmp_path: Path) -> None:
    wrote(tmp_path / "able", "pst")
    evaluated(tmp_path, '[ability]\nresults = "able"\n', ("pst", "x"))
    assert set(able(tmp_path)) == {"pst"}


def test_what_belongs_to_nobody_or_to_several_or_is_there_already_is_told_and_not_shown(
    tmp_path: Path,
) -> None:
    wrote(tmp_path / "able" / "a", "pst", "strange", "tiny")
    wrote(tmp_path / "able" / "b", "pst", hits=1)
    evaluated(tmp_path, '[ability]\nresults = "able"\n', ("pst", "tiny"), ("other", "tiny"))
    assert {name: one.rate for name, one in able(tmp_path).items()} == {"pst": wilson(300, 480)}
    notes = [note for note in results(tmp_path).notes if note.startswith("ability: ")]
    assert notes == [
        "ability: able/a/ability.json is of 'strange', which names no model here, or several",
        "ability: able/a/ability.json is of 'tiny', which names no model here, or several",
        "ability: able/b/ability.json: gqa of pst is there already, and left out",
    ]


def test_what_is_absent_or_broken_costs_no_other_number(tmp_path: Path) -> None:
    evaluated(tmp_path, '[ability]\nresults = "none"\n', ("pst", "x"))
    assert "ability: none holds no ability.json" in results(tmp_path).notes
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "ability.json").write_text("[{}]")
    evaluated(tmp_path, '[ability]\nresults = "none"\n', ("pst", "x"))
    assert "ability: none/ability.json cannot be read: measure again with `python -m align ability`" in (
        results(tmp_path).notes
    )
    assert [one.task for one in results(tmp_path).rates] == ["lamps"]
