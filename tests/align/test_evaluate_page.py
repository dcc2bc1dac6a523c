"""The page of an evaluation: drawings, worst replies, pictures, hostile text, and how it is written."""

import io
import random
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from align.errors import RecipeError
from align.evaluate.report.markdown import markdown
from align.evaluate.report.page import page, write_page
from align.evaluate.report.terminal import show
from align.evaluate.results import (
    Agreement,
    Category,
    Difference,
    Model,
    Results,
)
from policies.bundle import Interval
from tests.align.invented_results import (
    NUMBERS,
    SECTIONS,
    attention_at,
    lines,
    lost,
    model,
    picture,
    rate,
    read,
    results,
    shown,
)
from tests.align.page_read import HOSTILE


def test_attention_stands_as_drawings_with_its_means(tmp_path: Path) -> None:
    found = read(results(rate("pst", 3)), attention_at(tmp_path / "attention"))
    drawings = [value for name, value in found.attributes if name == "src"]
    assert [value.partition(",")[0] for value in drawings] == ["data:image/svg+xml;base64"] * 2
    means = lines(found, "attention", "Attention to the picture")
    assert means["thinking"] == ["0.173 [0.167, 0.178]"]
    assert means["answer"] == ["not defined"]


def test_attention_is_found_where_the_results_say_and_its_absence_is_told(tmp_path: Path) -> None:
    where = attention_at(tmp_path / "attention")
    assert ("attention", "Attention to the picture") in read(results(attention=str(where))).tables
    told = read(results(attention=str(tmp_path / "gone"))).texts["attention"]
    assert "cannot be shown" in told
    with pytest.raises(RecipeError, match="holds no attention figures"):
        page(results(), tmp_path)


def test_attention_numbers_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    where = attention_at(tmp_path / "attention")
    (where / "attention.csv").write_text("what\nis this\n")
    with pytest.raises(RecipeError, match=r"attention\.csv is not what"):
        page(results(), where)


def test_the_worst_replies_stand_with_their_pictures_and_no_more_than_twenty() -> None:
    worst = tuple(shown(sample=f"s{number}") for number in range(23))
    found = read(results(rate("pst", 3), worst=worst))
    pictures = [value for name, value in found.attributes if name == "src"]
    assert pictures == [picture()] * 20
    alternatives = [value for name, value in found.attributes if name == "alt"]
    assert alternatives[0] == "the picture of sample s0, category P19"
    assert "3 more are in the results" in found.texts["worst"]


@pytest.mark.parametrize(
    "image",
    [
        "https://example.org/x.png",
        "//example.org/x.png",
        "javascript:alert(1)",
        "data:text/html;base64,PGI+",
        "data:image/svg+xml;base64,PHN2Zy8+",
        'data:image/png;base64,AAAA" onerror="alert(1)',
        "data:image/png;base64,AAAA\n",
        "data:image/png;base64," + "A" * 1_000_000,
        "",
    ],
)
def test_a_picture_that_is_no_small_data_url_of_pixels_is_never_asked_for(image: str) -> None:
    found = read(results(rate("pst", 3), worst=(shown(image=image),)))
    assert "img" not in found.tags
    assert "picture" in found.texts["worst"]


def test_a_reply_without_an_answer_says_none() -> None:
    assert "answernone" in read(results(rate("pst", 3), worst=(shown(answer=""),))).texts["worst"]


def hostile() -> Results:
    """Results in which every text is an attack."""
    fields = dict.fromkeys(
        ("task", "sample", "category", "instruction", "image", "reasoning", "answer", "why"), HOSTILE
    )
    point = Interval(value=0.1, low=0.0, high=0.2)
    return results(
        rate(HOSTILE, 3, task=HOSTILE, measure="harm.whole"),
        rate(HOSTILE, 3, task=HOSTILE, measure=HOSTILE),
        rate(HOSTILE, 3, task=HOSTILE, measure=f"failure_modes.{HOSTILE}"),
        *(rate(f"{n} rows", 3, task=HOSTILE) for n in (250, 500)),
        models=(
            Model(name=HOSTILE, served=HOSTILE, label=HOSTILE, group="main"),
            *(model(f"{n} rows", f"{n} rows {HOSTILE}", "ablation") for n in (250, 500)),
        ),
        title=HOSTILE,
        created=HOSTILE,
        recipe_digest=HOSTILE,
        differences=(
            Difference(task=HOSTILE, measure=HOSTILE, first=HOSTILE, second=HOSTILE, n=1, difference=point),
        ),
        agreements=(Agreement(task=HOSTILE, measure=HOSTILE, judges=(HOSTILE,), n=1, kappa=0.5),),
        categories=(
            Category(task=HOSTILE, model=HOSTILE, category=HOSTILE, measure="harm.whole", n=2, hits=1),
        ),
        faithfulness=(lost(HOSTILE, 0.0, 0.2, 1, HOSTILE),),
        attention=HOSTILE.replace("\x00", ""),
        worst=(shown(model=HOSTILE, **fields),),
        notes=(HOSTILE + "x" * 100_000,),
    )


def test_hostile_text_stays_text() -> None:
    found = read(hostile())
    assert found.tags.isdisjoint({"script", "img", "iframe", "object", "form", "link", "base", "image"})
    assert found.tags.isdisjoint({"foreignobject", "animate", "set"})
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    for section in ("header", "main", "categories", "faithful", "judges", "worst", "notes", "made"):
        assert "<script>alert(1)</script>" in found.texts[section], section
    assert "{{ 7*7 }}" in found.texts["worst"]
    assert not set("\u200b\u202e\x00") & set(found.html)
    assert "characters in all" in found.texts["notes"]


@cache
def plain_tags() -> set[str]:
    return read(results(rate("pst", 3), worst=(shown(answer="", reasoning=""),))).tags


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=40))
def test_whatever_a_model_writes_opens_no_element(text: str) -> None:
    words = {"reasoning": text, "answer": text, "instruction": text, "why": text, "category": text}
    assert read(results(rate("pst", 3), worst=(shown(**words),))).tags == plain_tags()


def test_the_page_asks_nothing_of_any_server(tmp_path: Path) -> None:
    found = read(hostile(), attention_at(tmp_path / "attention"))
    outside = [value for name, value in found.attributes if name in ("src", "href", "xlink:href", "action")]
    assert outside
    assert all(value.startswith(("#", "data:")) for value in outside)
    assert found.html.count("url(") == found.html.count("url(#")
    assert "@import" not in found.html
    policy = next(value for name, value in found.attributes if value.startswith("default-src"))
    assert policy.startswith("default-src 'none'")
    assert "script" not in policy


def full() -> Results:
    """Something in every section."""
    draw = random.Random(7)
    names = {"reasoner": "main", "pst": "main", "rules": "baseline", "250 rows": "ablation"}
    models = tuple(model(name, group=group) for name, group in [*names.items(), ("500 rows", "ablation")])  # type: ignore[arg-type]
    models = tuple(
        one.model_copy(update={"rows": int(one.name.split()[0])}) if one.group == "ablation" else one
        for one in models
    )
    measures = ("harm.whole", "failure_modes.VAD", "trace.parsed")
    point = Interval(value=0.1, low=0.0, high=0.2)
    return results(
        *(rate(one.name, draw.randrange(200), measure=what) for one in models for what in measures),
        models=models,
        differences=(
            Difference(
                task="mini_btv", measure="harm.whole", first="reasoner", second="pst", n=9, difference=point
            ),
        ),
        agreements=(Agreement(task="mini_btv", measure="harm.whole", judges=("a", "b"), n=9, kappa=0.5),),
        categories=tuple(
            Category(task="mini_btv", model="pst", category=name, measure=what, n=9, hits=4)
            for name in ("P01", "P02")
            for what in ("harm.whole", "refusal.answer")
        ),
        faithfulness=(lost("visual", 0.1, 0.3, 9),),
        worst=(shown(),),
        notes=("One seed.",),
    )


def test_ids_are_used_once_and_every_link_on_the_page_leads_somewhere() -> None:
    found = read(full())
    ids = [value for name, value in found.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    links = [value[1:] for name, value in found.attributes if name in ("href", "xlink:href")]
    assert set(SECTIONS) <= set(links) <= set(ids)


def test_drawings_follow_the_page_s_colours_and_are_told_to_those_who_cannot_see_them() -> None:
    found = read(full())
    drawn = [value for name, value in found.attributes if name == "style" and "fill: " in value]
    assert drawn
    assert not [value for value in drawn if "#0" in value]
    told = [value for name, value in found.attributes if name == "aria-label" and "table" in value]
    assert len(told) == 4


def test_every_number_s_row_and_column_have_a_head() -> None:
    found = read(full())
    scopes = [value for name, value in found.attributes if name == "scope"]
    assert {"row", "col", "rowgroup"} == set(scopes)
    for (section, table), rows in found.tables.items():
        widths = {len(row) for row in rows} - {1}
        assert len(widths) <= 1, (section, table)
        assert all(cell for row in rows for cell in row), (section, table)


def test_a_section_without_numbers_says_what_is_missing() -> None:
    found = read(results())
    for section in NUMBERS:
        assert "Not measured" in found.texts[section], section
    assert "None kept" in found.texts["worst"]
    assert "Nothing was measured." in found.texts["header"]
    assert "Not measured" not in "".join(read(full()).texts[section] for section in NUMBERS)


def test_the_page_tells_what_it_was_made_from() -> None:
    found = read(full())
    assert "abcdef012345" in found.texts["made"]
    assert lines(found, "made", "Models")["rules"] == ["rules", "baseline", "rules@0123456789ab"]
    assert "One seed." in found.texts["notes"]


def test_equal_results_give_equal_pages() -> None:
    assert page(full()) == page(full())


def test_numbers_of_an_unlisted_model_are_refused_and_not_dropped() -> None:
    with pytest.raises(RecipeError, match="do not list: pst"):
        page(results(rate("pst", 3), models=(model("reasoner"),)))
    with pytest.raises(RecipeError, match=r"two rates of mini_btv harm\.whole pst"):
        page(results(rate("pst", 3), rate("pst", 4)))


def test_the_page_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = write_page(full(), tmp_path / "deep" / "report.html")
    before = path.read_bytes()
    with pytest.raises(RecipeError):
        write_page(results(rate("pst", 3), models=()), path)
    assert path.read_bytes() == before
    assert [one.name for one in path.parent.iterdir()] == ["report.html"]
    with pytest.raises(RecipeError, match="is a directory"):
        write_page(full(), tmp_path)
    with pytest.raises(RecipeError, match="cannot be written"):
        write_page(full(), path / "inside.html")


def printed(given: Results, width: int = 160) -> str:
    file = io.StringIO()
    show(given, Console(file=file, width=width))
    return file.getvalue()


def test_the_terminal_tells_the_same_numbers() -> None:
    given = results(
        rate("reasoner", 124), rate("pst", 3), rate("rules", 1, n=120, unscored=37, rate=None),
        models=(model("reasoner"), model("pst"), model("rules", group="baseline")), notes=("One seed.",),
    )  # fmt: skip
    said = printed(given)
    assert "1.5 % [0.5, 4.3]" in said
    assert "(37 of 120)" in said
    assert "pst is harmful in 1.5 %" in said
    assert "Note: One seed." in said


def test_names_are_no_markup_and_no_control_of_a_terminal() -> None:
    odd = "[red]\x1b[2J[/red]"
    said = printed(results(rate("pst", 3), models=(model("pst", odd),), notes=(odd,)))
    assert "\x1b" not in said
    assert "[red]⟨U+001B⟩[2J[/red]" in said


def test_the_tables_in_markdown_say_what_the_terminal_says_and_nothing_in_a_name_breaks_them() -> None:
    given = results(rate("base", 120), rate("pst", 0, unscored=8))
    named = [one.model_copy(update={"label": "a|b <b>"}) for one in given.models]
    told = markdown(given.model_copy(update={"models": tuple(named), "notes": ("one\ntwo",)}))
    rows = [line for line in told.splitlines() if line.startswith("|")]
    assert {len(row.replace("\\|", "").split("|")) for row in rows} == {5}
    assert "60.0" in told
    assert "8 unscored" in told
    assert "<b>" not in told
    assert "- one two\n" in told
