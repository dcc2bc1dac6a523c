"""The report of an evaluation: what its tables say of invented results, and never do."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from align.evaluate.report.compared import Mark, marks, overlap
from align.evaluate.results import (
    Agreement,
    Category,
    Difference,
    Rate,
)
from policies.bundle import Interval
from tests.align.invented_results import FAILURES, MAIN, OTHERS, lines, lost, model, rate, read, results


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


def test_models_compared_on_the_same_samples_are_told_apart_by_those() -> None:
    over: dict[str, Any] = {"task": "mini_vqa", "measure": "correct.answer", "better": "higher"}
    paired = Difference(
        task="mini_vqa", measure="correct.answer", first="reasoner", second="pst", n=200, distinct=60,
        difference=Interval(value=-0.04, low=-0.102, high=-0.004),
    )  # fmt: skip
    both = rate("reasoner", 175, **over), rate("pst", 167, **over)
    given = results(*both, models=(model("reasoner"), model("pst")), differences=(paired,))
    said = read(given).texts["header"]
    assert "; paired, \u22124.0 points [\u221210.2, \u22120.4]." in said
    assert "overlap" not in said


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
