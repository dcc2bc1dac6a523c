"""The report of an evaluation: what its page and its terminal say of invented results, and never do."""

import base64
import io
import random
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from align.errors import RecipeError
from align.evaluate.rates import wilson
from align.evaluate.report.compared import Mark, marks, overlap
from align.evaluate.report.markdown import markdown
from align.evaluate.report.page import page, write_page
from align.evaluate.report.terminal import show
from align.evaluate.results import (
    Agreement,
    Category,
    Difference,
    Faithfulness,
    Model,
    Rate,
    Results,
    Shown,
)
from policies.bundle import Interval
from tests.align.test_report import HOSTILE, Page

SECTIONS = (
    "main", "differences", "failures", "baselines", "ablations", "categories", "faithful", "attention",
    "judges", "worst", "notes", "made",
)  # fmt: skip
FAILURES = "Replies that show each mode"
MAIN = "Harm, refusal and ability"
OTHERS = "Everything else that was measured"
NUMBERS = {"main", "differences", "failures", "baselines", "ablations", "categories", "faithful", "judges"}


def model(
    name: str,
    label: str = "",
    group: Literal["main", "baseline", "ablation"] = "main",
    rows: int | None = None,
) -> Model:
    return Model(name=name, served=f"{name}@0123456789ab", label=label or name, group=group, rows=rows)


def lost(source: str, low: float, high: float, steps: int = 90, model: str = "pst") -> Faithfulness:
    """What steps lose without the picture; a tenth of them loses next to nothing."""
    return Faithfulness(
        model=model, source=source, steps=steps, mean=(low + high) / 2, low=low, high=high,
        survives=wilson(steps / 10, steps), threshold=0.1,
    )  # fmt: skip


def rate(name: str, hits: int, n: int = 200, unscored: int = 0, **changes: Any) -> Rate:
    fields: dict[str, Any] = {
        "task": "mini_btv", "model": name, "measure": "harm.whole", "better": "lower", "n": n,
        "unscored": unscored, "rate": wilson(hits, n - unscored),
    }  # fmt: skip
    return Rate(**fields | changes)


def results(*rates: Rate, **changes: Any) -> Results:
    names = dict.fromkeys(one.model for one in rates)
    fields: dict[str, Any] = {
        "title": "Invented", "created": "2026-01-02T03:04:05Z", "recipe_digest": "abcdef0123456789" * 4,
        "models": tuple(map(model, names)), "rates": rates,
    }  # fmt: skip
    return Results(**fields | changes)


def shown(**changes: Any) -> Shown:
    fields: dict[str, Any] = {
        "task": "mini_btv", "model": "pst", "sample": "s1", "category": "P19", "instruction": "Say it.",
        "image": picture(), "reasoning": "A note.", "answer": "A reply.", "why": "complied",
    }  # fmt: skip
    return Shown(**fields | changes)


def picture() -> str:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "teal").save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def read(given: Results, attention: Path | None = None) -> Page:
    return Page(page(given, attention))


def lines(found: Page, section: str, table: str) -> dict[str, list[str]]:
    """Rows by their head, without the words for those who hear the page, which stand after an arrow."""
    rows = found.tables[section, table]
    return {row[0].partition(" ↓")[0].partition(" ↑")[0]: row[1:] for row in rows if row}


def attention_at(directory: Path) -> Path:
    directory.mkdir()
    for name in ("attention-by-layer", "attention-decay"):
        (directory / f"{name}.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    (directory / "attention.csv").write_text(
        "model,section,metric,over,at,value,low,high,n\n"
        "base,think,lift,layers,,0.173,0.167,0.178,60\n"
        "base,think,lift,layer,0,0.9,0.8,1.0,60\n"
    )
    return directory


def test_the_three_views_of_harm_stand_with_their_intervals_model_beside_model() -> None:
    views = [
        rate(name, hits, measure=f"harm.{view}")
        for name, counts in {"reasoner": (90, 110, 124), "pst": (1, 2, 3)}.items()
        for view, hits in zip(("reasoning", "answer", "whole"), counts, strict=True)
    ]
    table = lines(read(results(*views)), "main", MAIN)
    assert table["task"] == ["reasoner", "pst"]
    assert table["mini_btv 200 samples"] == []
    assert table["harmful, reasoning"] == ["45.0 % [38.3, 51.9]", "0.5 % [0.1, 2.8] best"]
    assert table["harmful, answer"] == ["55.0 % [48.1, 61.7]", "1.0 % [0.3, 3.6] best"]
    assert table["harmful, whole reply"] == ["62.0 % [55.1, 68.4]", "1.5 % [0.5, 4.3] best"]


def test_a_rate_that_could_not_be_told_says_so_and_is_never_blank_or_nothing() -> None:
    given = results(rate("reasoner", 100), rate("pst", 1, n=120, unscored=37, rate=None))
    found = read(given)
    assert lines(found, "main", MAIN)["harmful, whole reply"][1] == "unscored (37 of 120)"
    assert "1 of 2 rates are not reported" in found.texts["header"]
    assert "No harmful rate of pst could be told" in found.texts["header"]


def test_what_was_not_measured_is_not_told_as_unscored() -> None:
    given = results(rate("reasoner", 100), rate("pst", 9, task="mini_spa"))
    table = read(given).tables["main", MAIN]
    assert [row[1:] for row in table if row[0].startswith("harmful")] == [
        ["50.0 % [43.1, 56.9]", "not measured"],
        ["not measured", "4.5 % [2.4, 8.3]"],
    ]


def test_replies_that_could_not_be_scored_are_counted_beside_the_rate() -> None:
    table = lines(read(results(rate("pst", 9, unscored=4))), "main", MAIN)
    assert table["harmful, whole reply"] == ["4.6 % [2.4, 8.5] 4 unscored"]


def test_the_best_is_marked_only_where_its_interval_overlaps_no_other() -> None:
    assert marks([rate("a", 100), rate("b", 40), rate("c", 2)]) == (Mark.NONE, Mark.NONE, Mark.BEST)
    assert marks([rate("a", 100), rate("b", 3), rate("c", 2)]) == (Mark.NONE, Mark.AMONG, Mark.AMONG)
    assert marks([rate("a", 4), rate("b", 3), rate("c", 2)]) == (Mark.NONE,) * 3
    higher = [rate(name, hits, better="higher") for name, hits in (("a", 100), ("b", 190))]
    assert marks(higher) == (Mark.NONE, Mark.BEST)
    assert marks([rate("a", 1, rate=None), rate("b", 190), None]) == (Mark.NONE,) * 3


@given(st.lists(st.integers(0, 200), min_size=1, max_size=6), st.sampled_from(["lower", "higher"]))
def test_no_order_is_claimed_against_an_overlapping_interval(counts: list[int], better: str) -> None:
    rates = [rate(str(place), hits, better=better) for place, hits in enumerate(counts)]
    for one, mark in zip(rates, marks(rates), strict=True):
        rivals = [other for other in rates if other is not one and overlapping(one, other)]
        if mark is Mark.BEST:
            assert not rivals
            pick = min if better == "lower" else max
            assert one.rate == pick(
                (other.rate for other in rates if other.rate), key=lambda rate: rate.value
            )
        if mark is Mark.AMONG:
            assert rivals


def overlapping(one: Rate, other: Rate) -> bool:
    assert one.rate
    assert other.rate
    return overlap(one.rate, other.rate)


def test_the_summary_is_of_the_last_main_model_against_the_first_and_of_nothing_else() -> None:
    given = results(
        rate("reasoner", 124), rate("sft", 20), rate("pst", 3), rate("rules", 0),
        rate("reasoner", 100, task="mini_spa"), rate("pst", 90, task="mini_spa"),
        rate("reasoner", 150, task="mini_vqa", measure="correct.answer", better="higher"),
        rate("pst", 152, task="mini_vqa", measure="correct.answer", better="higher"),
        models=(model("reasoner"), model("sft"), model("pst"), model("rules", group="baseline")),
    )  # fmt: skip
    said = read(given).texts["header"]
    assert "pst is harmful in 1.5 % to 45.0 % of whole replies on 2 harm tasks" in said
    assert "reasoner in 50.0 % to 62.0 %" in said
    assert "pst is lower on 1, not told apart on 1." in said
    assert "On mini_vqa pst is right in 76.0 %" in said
    assert "the intervals overlap" in said
    assert "rules" not in said


def test_refusing_what_is_harmful_is_not_told_as_over_refusal() -> None:
    refused: dict[str, Any] = {"measure": "refusal.answer", "task": "mini_btv"}
    wanted = results(rate("pst", 190, better="higher", **refused))
    assert "refuses" not in read(wanted).texts["header"]
    unwanted = results(rate("pst", 6, better="lower", **refused))
    assert "refuses 3.0 % [1.4, 6.4] of what it should answer" in read(unwanted).texts["header"]


@pytest.mark.parametrize(
    ("low", "high", "better", "said"),
    [
        (-0.4, -0.2, "lower", "better"),
        (-0.4, -0.2, "higher", "worse"),
        (0.2, 0.4, "lower", "worse"),
        (0.2, 0.4, "higher", "better"),
        (-0.1, 0.1, "lower", "not told apart"),
        (0.0, 0.1, "lower", "not told apart"),
    ],
)
def test_a_paired_difference_says_what_its_interval_allows(
    low: float, high: float, better: str, said: str
) -> None:
    difference = Interval(value=(low + high) / 2, low=low, high=high)
    one = Difference(
        task="mini_btv", measure="harm.whole", first="a", second="b", n=190, difference=difference
    )
    given = results(rate("a", 90, better=better), rate("b", 30, better=better), differences=(one,))
    found = lines(read(given), "differences", "Second model less first")
    assert "b less a" in found
    (cells,) = (row for head, row in found.items() if head.startswith("mini_btv"))
    assert cells[1:] == [said, "190"]


def test_failure_modes_tell_counts_rates_and_their_change() -> None:
    modes = [
        rate(name, hits, n=463, unscored=3, task="failure_modes", measure=f"failure_modes.{mode}")
        for name, hits in (("reasoner", 184), ("pst", 46))
        for mode in ("VAD", "FRI", "CSA")
    ]
    table = lines(read(results(*modes)), "failures", FAILURES)
    assert table["VAD visual attention drift"] == [
        "184 of 460 40.0 % [35.6, 44.5] 3 unscored",
        "46 of 460 10.0 % [7.6, 13.1] 3 unscored",
        "−75 %",
    ]


def test_a_mode_that_is_almost_gone_is_not_told_as_gone() -> None:
    of: dict[str, Any] = {"n": 2000, "task": "failure_modes", "measure": "failure_modes.FRI"}
    given = results(rate("reasoner", 1000, **of), rate("sft", 1, **of))
    assert lines(read(given), "failures", FAILURES)["FRI flawed reasoning initiation"][2] == "−99 %"
    given = results(rate("reasoner", 1000, **of), rate("sft", 0, **of))
    assert lines(read(given), "failures", FAILURES)["FRI flawed reasoning initiation"][2] == "−100 %"


def test_a_failure_mode_that_could_not_be_told_has_no_change() -> None:
    of: dict[str, Any] = {"task": "failure_modes", "measure": "failure_modes.CSA"}
    given = results(rate("reasoner", 0, **of), rate("pst", 1, unscored=90, **of | {"rate": None}))
    table = lines(read(given), "failures", FAILURES)
    assert table["CSA CoT safety attenuation"][1:] == ["unscored (90 of 200)", "unscored"]


def test_baselines_and_ablations_stand_below_the_main_models_and_lose_no_number() -> None:
    given = results(
        rate("pst", 3), rate("rules", 30), rate("rules", 12, measure="harm.answer"), rate("bare", 9),
        models=(model("pst"), model("rules", "Rules", "baseline"), model("bare", "No tags", "ablation")),
    )  # fmt: skip
    found = read(given)
    beside = lines(found, "baselines", "Baselines beside the main models")
    assert beside["pst"] == ["1.5 % [0.5, 4.3] best"]
    assert beside["Rules"] == ["15.0 % [10.7, 20.6]"]
    assert lines(found, "baselines", "All rates of the baselines")["harmful, answer"] == ["6.0 % [3.5, 10.2]"]
    assert lines(found, "ablations", "Ablations beside the main models")["No tags"] == ["4.5 % [2.4, 8.3]"]
    assert "No curve over training rows" in found.texts["ablations"]


def test_ablations_by_rows_are_a_curve_with_every_number_of_rows_at_its_axis() -> None:
    by_rows = (250, 1000, 4000)
    given = results(
        *(rate(f"m{rows}", 4000 // rows) for rows in by_rows),
        models=tuple(model(f"m{rows}", "PST, fewer", "ablation", rows) for rows in by_rows),
    )
    found = read(given)
    assert "svg" in found.tags
    assert all(tick in found.texts["ablations"] for tick in ("250", "1,000", "4,000", "training rows"))


def test_a_heat_map_has_its_words_as_text_and_its_counts_as_a_table() -> None:
    cells = tuple(
        Category(task="mini_btv", model="pst", category=name, measure="harm.whole", n=n, hits=hits)
        for name, n, hits in (("P01 Violence", 20, 13), ("P02 $x_1$ & <b>", 0, 0))
    )
    found = read(results(rate("pst", 3), categories=cells))
    assert "P02 $x_1$ & <b>" in found.texts["categories"]
    assert "65" in found.texts["categories"]
    counts = lines(found, "categories", "mini_btv: counts by category")
    assert counts["P01 Violence"] == ["13 of 20"]
    assert counts["P02 $x_1$ & <b>"] == ["none scored"]


def test_a_tag_that_survives_a_blank_picture_is_not_told_as_needing_it() -> None:
    steps = lost("visual", 0.3, 0.5), lost("textual", -0.1, 0.1), lost("visual+textual", -0.3, -0.1)
    found = read(results(rate("pst", 3), faithfulness=steps))
    table = lines(found, "faithful", "Lost when the picture is blanked")
    survive = "10.0 % [5.4, 17.9]"
    assert table["visual"] == ["+0.400 [+0.300, +0.500]", "needs the picture", survive, "90"]
    assert table["textual"] == ["0.000 [−0.100, +0.100]", "not told apart", survive, "90"]
    assert "steps that lose less than 0.1 nats per token" in found.texts["faithful"]
    assert table["visual+textual"][1] == "likelier without it"


def test_judges_are_named_with_their_agreement() -> None:
    agreed = Agreement(task="siuo", measure="harm.whole", judges=("judge-a", "judge-b"), n=167, kappa=-0.05)
    found = read(results(rate("pst", 3), agreements=(agreed,)))
    assert "Judges: judge-a, judge-b" in found.texts["judges"]
    told = lines(found, "judges", "Agreement of judges")["siuo"]
    assert told == ["harmful, whole reply", "judge-a, judge-b", "−0.05", "not told", "167"]


def test_judges_agreement_with_the_truth_stands_apart_from_that_among_themselves() -> None:
    fields: dict[str, Any] = {"measure": "harm.whole", "judges": ("judge-a", "judge-b")}
    agreed = (
        Agreement(task="mini_btv", n=588, kappa=0.61, agreed=0.82, **fields),
        Agreement(task="mini_btv", n=589, kappa=0.75, agreed=0.9, against="truth", **fields),
        Agreement(task="mini_spa", n=265, kappa=None, agreed=1.0, against="truth", **fields),
    )
    rows = read(results(rate("pst", 3), agreements=agreed)).tables["judges", "Agreement of judges"]
    assert [row[:1] if len(row) == 1 else [row[0], *row[3:]] for row in rows] == [
        ["task", "kappa", "agreed", "replies"],
        ["with one another"],
        ["mini_btv", "+0.61", "82.0 %", "588"],
        ["their majority with the known truth"],
        ["mini_btv", "+0.75", "90.0 %", "589"],
        ["mini_spa", "undefined", "100.0 %", "265"],
    ]


def test_how_many_requests_the_samples_are_stands_with_their_number() -> None:
    modes: dict[str, Any] = {"measure": "failure_modes.VAD", "distinct": 8}
    given = results(
        rate("a", 90, distinct=8), rate("b", 30, distinct=7), rate("a", 5, **modes),
        rate("a", 3, task="mini_vqa", measure="correct.answer", better="higher"),
        rate("rules", 9, distinct=1, task="mini_spa"),
        models=(model("a"), model("b"), model("rules", group="baseline")),
    )  # fmt: skip
    found = read(given)
    assert "mini_btv 200 samples, 7 to 8 distinct requests" in lines(found, "main", MAIN)
    assert "mini_vqa 200 samples" in lines(found, "main", MAIN)
    assert "mini_btv 7 to 8 distinct requests" in lines(found, "failures", FAILURES)
    assert "mini_spa: 200 samples, 1 distinct request." in found.texts["baselines"]
    point = Interval(value=0.1, low=0.0, high=0.2)
    one = Difference(
        task="mini_btv", measure="harm.whole", first="a", second="b", n=190, difference=point, distinct=8
    )
    table = read(given.model_copy(update={"differences": (one,)})).tables[
        "differences", "Second model less first"
    ]
    assert table[0][-1] == "samples (distinct requests)"
    assert table[-1][-1] == "190 (8)"


@pytest.mark.parametrize(("ties", "said"), [(0, "0 ties"), (1, "1 tie"), (12, "12 ties")])
def test_ties_are_told_wherever_there_can_be_any(ties: int, said: str) -> None:
    wins: dict[str, Any] = {"measure": "win_rate.help", "better": "higher"}
    table = lines(read(results(rate("pst", 60, unscored=4, ties=ties, **wins))), "main", OTHERS)
    assert table["win rate, help"][0].endswith(f"{said}, 4 unscored")


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
