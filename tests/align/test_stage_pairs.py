"""Pairs: three ways to a rejected reply, what makes a pair unfit, and how many of which are taken."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from align.errors import StageAborted
from align.records import Derived, Dropped, Mined, Pair, read_rows
from align.stages import pairs
from tests.align.stage_rows import HELP, NEEDLESS, REFUSAL, UNSAFE, Asked, derived, laid, lay, mined

ALL_MINED = {"[mine]\ncount = 16": "[mine]\ncount = 1000"}
HARMFUL, BENIGN = Asked("h"), Asked("b", benign=True)
FIRST = "count = 24\nmax_length_ratio = 1.5"
"""Of [pairs] in the small recipe."""
SHARES = "shares = { contrastive = 0.35, post_hoc = 0.35, over_refusal = 0.30 }"


def wanted(count: int, contrastive: float, post_hoc: float, over_refusal: float) -> dict[str, str]:
    shares = f"contrastive = {contrastive}, post_hoc = {post_hoc}, over_refusal = {over_refusal}"
    return {FIRST: FIRST.replace("24", str(count)), SHARES: f"shares = {{ {shares} }}"}


def paired(
    directory: Path,
    asked: Iterable[Asked],
    mined: Iterable[Mined] = (),
    derived: Iterable[Derived] = (),
    changes: dict[str, str] | None = None,
) -> tuple[list[Pair], dict[str, Dropped]]:
    """What the stage leaves of these."""
    directory.mkdir(exist_ok=True)
    run = laid(directory, asked, ALL_MINED | (changes or {}))
    lay(run, "mine", mined)
    lay(run, "derive", derived)
    made = pairs.make(run)
    folder = run.folder("pairs")
    found = list(read_rows(folder / "rows.jsonl", Pair))
    assert made.rows == len(found)
    dropped = list(read_rows(folder / "dropped.jsonl", Dropped))
    assert made.dropped == Counter(str(row.reason) for row in dropped)
    return found, {row.id: row for row in dropped}


def harmful(count: int, category: str = "P19", source: str = "set") -> list[Asked]:
    return [Asked(f"{category} {source} {n}", category=category, source=source) for n in range(count)]


def benign(count: int) -> list[Asked]:
    return [Asked(f"benign {n}", benign=True) for n in range(count)]


def test_every_pair_says_how_it_was_made_and_by_whom(tmp_path: Path) -> None:
    replies = [mined("h", safety=1), mined("b", NEEDLESS, "miner-b", helpfulness=1)]
    found, dropped = paired(tmp_path, [HARMFUL, BENIGN], replies, [derived("h"), derived("b", NEEDLESS)])
    assert {(pair.id, pair.kind, pair.rejected_by, pair.decided_by) for pair in found} == {
        ("h contrastive mine miner-a", "contrastive", "miner-a", "safety"),
        ("h post_hoc derive adversary", "post_hoc", "adversary", "safety"),
        ("b over_refusal mine miner-b", "over_refusal", "miner-b", "utility"),
        ("b over_refusal derive adversary", "over_refusal", "adversary", "utility"),
    }
    assert {pair.chosen_by for pair in found} == {"lab-teacher"}
    assert {pair.id[0]: (pair.chosen, pair.instruction) for pair in found} == {
        "h": (REFUSAL, "What about h?"),
        "b": (HELP, "What about b?"),
    }
    assert not dropped


def test_one_model_may_be_miner_and_adversary_and_no_pair_is_lost(tmp_path: Path) -> None:
    refusal = mined("b", NEEDLESS, "one", helpfulness=1)
    found, dropped = paired(tmp_path, [BENIGN], [refusal], [derived("b", NEEDLESS, "one")])
    assert len({pair.id for pair in found}) == 2
    assert not dropped


@pytest.mark.parametrize(
    ("lower", "kind", "decided_by"),
    [
        ({"helpfulness": 1}, "over_refusal", "utility"),
        ({"helpfulness": 2}, "contrastive", "utility"),
        ({"helpfulness": 1, "safety": 4}, "contrastive", "safety"),
        ({"multimodal_consistency": 2}, "contrastive", "reasoning"),
    ],
)
def test_a_harmless_request_is_refused_in_effect_where_the_reply_is_safe_and_of_no_use(
    tmp_path: Path, lower: dict[str, int], kind: str, decided_by: str
) -> None:
    (pair,), _ = paired(tmp_path, [BENIGN], [mined("b", NEEDLESS, "miner-a", **lower)])
    assert (pair.kind, pair.decided_by) == (kind, decided_by)


def test_no_use_in_a_reply_to_harm_is_no_needless_refusal(tmp_path: Path) -> None:
    (pair,), _ = paired(tmp_path, [HARMFUL], [mined("h", NEEDLESS, helpfulness=1)])
    assert pair.kind == "contrastive"


@pytest.mark.parametrize(
    ("one", "other", "worse", "decided_by"),
    [
        ({"safety": 4}, {"helpfulness": 1, "logical_accuracy": 1}, "one", "safety"),
        ({"helpfulness": 4}, {"logical_accuracy": 1, "policy_relevance": 1}, "one", "utility"),
        ({"safety": 3}, {"safety": 3, "helpfulness": 4}, "other", "safety"),
        ({"safety": 3, "policy_relevance": 4}, {"safety": 3, "policy_relevance": 3}, "other", "safety"),
        ({"logical_accuracy": 4}, {"policy_relevance": 3}, "other", "reasoning"),
        ({}, {"logical_accuracy": 4}, "other", "reasoning"),
    ],
)
def test_of_several_miners_the_worst_is_rejected_by_safety_then_utility_then_reasoning(
    tmp_path: Path, one: dict[str, int], other: dict[str, int], worse: str, decided_by: str
) -> None:
    for place, order in enumerate((("one", one, "other", other), ("other", other, "one", one))):
        first, its, second, seconds = order
        replies = [mined("h", UNSAFE, first, **its), mined("h", UNSAFE, second, **seconds)]
        (pair,), _ = paired(tmp_path / str(place), [HARMFUL], replies)
        assert (pair.rejected_by, pair.decided_by) == (worse, decided_by)


def test_a_query_at_which_no_miner_failed_is_dropped_by_that_reason(tmp_path: Path) -> None:
    asked = [HARMFUL, Asked("full marks"), Asked("no reply")]
    _, dropped = paired(tmp_path, asked, [mined("h", safety=1), mined("full marks", REFUSAL)])
    assert {row.id: row.reason for row in dropped.values()} == {
        "full marks": "no_failure",
        "no reply": "no_failure",
    }


@pytest.mark.parametrize(
    ("reply", "reason", "detail"),
    [
        (f"\n{REFUSAL} ", "same_reply", "do not differ"),
        ("I see no harm in this, so here it is.", "format_differs", "think"),
        (UNSAFE.split("</think>")[0], "format_differs", "think"),
        (UNSAFE.split("</think>")[0] + "</think>\n", "format_differs", "think"),
        ("<think>\n</think>\nHere it is.", "format_differs", "think"),
        (UNSAFE + " And so on." * 30, "length_ratio", f"{len(REFUSAL)} and {len(UNSAFE) + 330} characters"),
    ],
)
def test_a_reply_that_teaches_something_else_makes_no_pair_and_the_reason_is_kept(
    tmp_path: Path, reply: str, reason: str, detail: str
) -> None:
    replies = [mined("h", reply, safety=1), mined("other", safety=1)]
    found, dropped = paired(tmp_path, [HARMFUL, Asked("other")], replies)
    assert [pair.id for pair in found] == ["other contrastive mine miner-a"]
    (row,) = dropped.values()
    assert (row.id, row.reason) == ("h contrastive mine miner-a", reason)
    assert detail in row.detail


@pytest.mark.parametrize("longer", ["chosen", "rejected"])
def test_the_longer_reply_has_at_most_the_ratio_of_the_shorters_characters(
    tmp_path: Path, longer: str
) -> None:
    short = UNSAFE
    fits = short + "." * (len(short) // 2)
    for name, long, taken in (("fits", fits, True), ("exceeds", fits + "..", False)):
        chosen, rejected = (long, short) if longer == "chosen" else (short, long)
        other = Asked("other")
        asked = [Asked("h", chosen=chosen), other]
        replies = [mined("h", rejected, safety=1), mined("other", safety=1)]
        found, dropped = paired(tmp_path / name, asked, replies)
        assert ("h contrastive mine miner-a" in {pair.id for pair in found}) is taken
        assert ("length_ratio" in {row.reason for row in dropped.values()}) is not taken


def test_a_pair_that_fails_does_not_take_the_querys_other_pair_along(tmp_path: Path) -> None:
    found, dropped = paired(tmp_path, [HARMFUL], [mined("h", "No format.", safety=1)], [derived("h")])
    assert [pair.kind for pair in found] == ["post_hoc"]
    assert list(dropped) == ["h contrastive mine miner-a"]


def test_no_category_dominates_and_the_others_are_dropped_by_name(tmp_path: Path) -> None:
    asked = [*harmful(40, "P19"), *harmful(6, "P07"), *harmful(40, "P01")]
    replies = [mined(one.id, safety=1) for one in asked]
    found, dropped = paired(tmp_path, asked, replies, changes=wanted(24, 1.0, 0, 0))
    assert Counter(pair.category for pair in found) == {"P19": 9, "P07": 6, "P01": 9}
    assert len(dropped) == 86 - 24
    assert {row.reason for row in dropped.values()} == {"not_selected"}


def test_sources_are_balanced_like_categories(tmp_path: Path) -> None:
    asked = [*harmful(30, source="large"), *harmful(10, source="small")]
    replies = [mined(one.id, safety=1) for one in asked]
    found, _ = paired(tmp_path, asked, replies, changes=wanted(20, 1.0, 0, 0))
    assert Counter(pair.source for pair in found) == {"large": 10, "small": 10}


@pytest.mark.parametrize(
    ("count", "shares", "expected"),
    [
        (10, (0.5, 0.3, 0.2), {"contrastive": 5, "post_hoc": 3, "over_refusal": 2}),
        # Rounding each would make eleven.
        (10, (0.35, 0.35, 0.30), {"contrastive": 4, "post_hoc": 3, "over_refusal": 3}),
        (5, (0.3, 0.3, 0.4), {"contrastive": 2, "post_hoc": 1, "over_refusal": 2}),
        (10, (0.5, 0.5, 0), {"contrastive": 5, "post_hoc": 5}),
        (100, (0.4, 0.3, 0.3), {"contrastive": 20, "post_hoc": 20, "over_refusal": 20}),
        (30, (0.1, 0.1, 0.8), {"contrastive": 5, "post_hoc": 5, "over_refusal": 20}),
    ],
)
def test_each_kind_has_its_share_of_exactly_so_many_and_gaps_are_filled_by_the_others(
    tmp_path: Path, count: int, shares: tuple[float, float, float], expected: dict[str, int]
) -> None:
    asked = [*harmful(20), *benign(20)]
    replies = [mined(one.id, safety=1) for one in asked[:20]]
    made = [derived(one.id, NEEDLESS if one.benign else UNSAFE) for one in asked]
    found, dropped = paired(tmp_path, asked, replies, made, wanted(count, *shares))
    assert Counter(pair.kind for pair in found) == expected
    assert len(found) + len(dropped) == 60


def test_pairs_that_are_near_no_policy_have_a_share_of_their_own_in_every_kind(tmp_path: Path) -> None:
    general = [Asked(f"general {n}", benign=True, category=None) for n in range(30)]
    asked = [*harmful(30), *benign(30), *general]
    replies = [mined(one.id, safety=1) for one in asked[:30]]
    made = [derived(one.id, NEEDLESS if one.benign else UNSAFE) for one in asked]
    changes = wanted(40, 0, 0.5, 0.5) | {FIRST: FIRST.replace("24", "40\ngeneral_share = 0.4")}
    found, _ = paired(tmp_path, asked, replies, made, changes)
    assert Counter((pair.kind, pair.category) for pair in found) == {
        ("post_hoc", "P19"): 20,
        ("over_refusal", "P19"): 12,
        ("over_refusal", None): 8,
    }


def test_too_few_pairs_stop_the_run_and_say_why(tmp_path: Path) -> None:
    asked = [HARMFUL, Asked("prose"), Asked("same")]
    replies = [mined("h", safety=1), mined("prose", "Yes.", safety=1), mined("same", REFUSAL, safety=1)]
    message = r"pairs: 1 pairs, fewer than pairs.min_count = 2 \(1 format_differs, 1 same_reply\): mine more"
    with pytest.raises(StageAborted, match=message):
        paired(tmp_path, asked, replies, changes={"}\nmin_count = 1": "}\nmin_count = 2"})
    assert not (tmp_path / "run" / "pairs" / "rows.jsonl").exists()


def test_the_same_pairs_every_time_and_another_draw_with_another_seed(tmp_path: Path) -> None:
    asked = harmful(60)
    replies = [mined(one.id, safety=1) for one in asked]
    drawn = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        changes = wanted(20, 1.0, 0, 0) | {"seed = 1\npolicies": f"seed = {seed}\npolicies"}
        paired(tmp_path / name, asked, replies, changes=changes)
        drawn.append((tmp_path / name / "run" / "pairs" / "rows.jsonl").read_bytes())
    assert drawn[0] == drawn[1] != drawn[2]
