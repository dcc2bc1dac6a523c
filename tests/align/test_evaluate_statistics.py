"""The numbers beside the rates, against published and hand-computed ones, and against SciPy's own."""

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import bootstrap

from align.evaluate.rates import NothingScored
from align.evaluate.statistics import agreement, cohen_kappa, fleiss_kappa, paired_bootstrap, wins

NAN = math.nan
# Ten subjects, fourteen raters, five categories: the example of Fleiss' kappa in the literature, 0.210.
FLEISS = (
    (0, 0, 0, 0, 14),
    (0, 2, 6, 4, 2),
    (0, 0, 3, 5, 6),
    (0, 3, 9, 2, 0),
    (2, 2, 8, 1, 1),
    (7, 7, 0, 0, 0),
    (3, 2, 6, 3, 0),
    (2, 5, 3, 2, 2),
    (6, 5, 2, 1, 0),
    (0, 2, 2, 3, 7),
)
LABELS = st.sampled_from(["a", "b", "c"])


def flags(*runs: tuple[float, int]) -> list[float]:
    """Values, each so many times."""
    return [value for value, times in runs for _ in range(times)]


def rows(first: float, second: float) -> tuple[list[float], list[float]]:
    """200 samples of two models with these rates, drawn apart."""
    draw = random.Random(7)
    return [float(draw.random() < first) for _ in range(200)], [
        float(draw.random() < second) for _ in range(200)
    ]


# --- paired bootstrap


@pytest.mark.parametrize("method", ["percentile", "BCa"])
def test_the_interval_is_that_of_scipys_paired_bootstrap(method: str) -> None:
    first, second = rows(0.6, 0.2)
    ours = paired_bootstrap(first, second, seed=3, method=method, resamples=2000)  # type: ignore[arg-type]
    theirs = bootstrap(
        (first, second),
        lambda a, b, axis=-1: np.mean(b, axis=axis) - np.mean(a, axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=2000,
        method=method,
        rng=np.random.default_rng(3),
        batch=500,
    ).confidence_interval
    assert ours.difference.value == pytest.approx(np.mean(second) - np.mean(first))
    assert (ours.difference.low, ours.difference.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_the_interval_is_as_wide_as_theory_has_it() -> None:
    # 400 pairs: 100 lost, 20 won, 280 the same. sd² = 0.3 - 0.2² = 0.26, 1.96·sqrt(0.26/400) = 0.04997.
    first = flags((1, 100), (0, 20), (1, 280))
    second = flags((0, 100), (1, 20), (1, 280))
    found = paired_bootstrap(first, second, seed=0)
    assert found.difference.value == pytest.approx(-0.2)
    assert found.difference.high - found.difference.value == pytest.approx(0.04997, rel=0.08)
    assert found.difference.value - found.difference.low == pytest.approx(0.04997, rel=0.08)


def test_pairing_counts_and_two_rates_that_move_together_differ_surely() -> None:
    # Rates of 0.50 and 0.55: apart from each other their intervals would overlap widely.
    first, second = flags((1, 100), (0, 100)), flags((1, 110), (0, 90))
    assert paired_bootstrap(first, second, seed=0).difference.low > 0
    assert paired_bootstrap(first, second[::-1], seed=0).difference.low < 0


def test_a_pair_with_an_unscored_half_is_dropped_and_counted() -> None:
    found = paired_bootstrap([1, NAN, 0, 1, NAN], [0, 0, 0, NAN, NAN], seed=0)
    assert (found.n, found.dropped) == (2, 3)
    assert found.difference.value == -0.5


def test_the_same_seed_gives_the_same_interval_and_another_nearly_the_same() -> None:
    first, second = rows(0.5, 0.3)
    one, again, other = (paired_bootstrap(first, second, seed=seed).difference for seed in (1, 1, 2))
    assert one == again
    assert one != other
    assert one.low == pytest.approx(other.low, abs=0.02)


def test_models_that_never_differ_differ_by_nothing() -> None:
    found = paired_bootstrap([1, 0, 1], [1, 0, 1], seed=0).difference
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_a_request_asked_ten_times_with_the_same_outcome_is_worth_no_more_than_once() -> None:
    first, second = rows(0.6, 0.2)
    once = paired_bootstrap(first, second, seed=3)
    often = paired_bootstrap(first * 10, second * 10, [*range(200)] * 10, seed=3)
    assert (often.n, often.distinct, once.distinct) == (2000, 200, 200)
    ends = often.difference.value, often.difference.low, often.difference.high
    assert ends == pytest.approx((once.difference.value, once.difference.low, once.difference.high))
    apart = paired_bootstrap(first * 10, second * 10, seed=3).difference
    assert apart.high - apart.low < 0.5 * (once.difference.high - once.difference.low)


def test_a_difference_that_one_of_few_requests_makes_is_not_sure() -> None:
    # All of the difference is in one request of eight: 40 of 320 samples.
    first, second = [0.0] * 320, flags((1, 40), (0, 280))
    requests = [sample // 40 for sample in range(320)]
    assert paired_bootstrap(first, second, seed=0).difference.low > 0
    assert paired_bootstrap(first, second, requests, seed=0).difference.low == 0


def test_requests_that_happen_to_agree_make_no_interval_narrower_than_samples_apart() -> None:
    first, second = [0.0] * 40, flags((1, 5), (0, 15)) * 2
    by_request = paired_bootstrap(first, second, ["a"] * 20 + ["b"] * 20, seed=0).difference
    assert by_request == paired_bootstrap(first, second, seed=0).difference
    assert by_request.low < by_request.value < by_request.high


def test_within_one_request_samples_are_drawn_and_only_scored_requests_are_counted() -> None:
    first, second = [0.0, 0.0, 0.0, NAN], [1.0, 0.0, 1.0, 1.0]
    found = paired_bootstrap(first, second, ["a", "a", "a", "b"], seed=0)
    assert (found.n, found.distinct) == (3, 1)
    assert found.difference == paired_bootstrap(first, second, seed=0).difference


@pytest.mark.parametrize("scored", [0, 1])
def test_fewer_than_two_scored_pairs_are_no_comparison(scored: int) -> None:
    with pytest.raises(NothingScored, match=f"{scored} of 3 pairs"):
        paired_bootstrap([1.0] * scored + [NAN] * (3 - scored), [0.0, 0.0, 0.0], seed=0)


def test_samples_that_do_not_pair_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        paired_bootstrap([1.0, 0.0], [1.0], seed=0)


# --- agreement


def test_fleiss_kappa_is_that_of_the_published_example() -> None:
    items = [tuple(label for label, count in enumerate(row) for _ in range(count)) for row in FLEISS]
    assert fleiss_kappa(items) == pytest.approx(0.210, abs=5e-4)


def test_cohens_kappa_is_the_one_computed_by_hand() -> None:
    # 35 of 50 agree: 0.7. By chance 0.5·0.6 + 0.5·0.4 = 0.5. (0.7 - 0.5) / (1 - 0.5) = 0.4.
    pairs = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15
    assert cohen_kappa(pairs) == pytest.approx(0.4)


def test_judges_who_agree_on_everything_and_use_two_labels_have_kappa_one() -> None:
    labels = ["a", "b", "a"]
    assert agreement({"x": labels, "y": labels}).kappa == 1
    assert agreement({"x": labels, "y": labels, "z": labels}).kappa == 1


@pytest.mark.parametrize("judges", [2, 3])
@given(n=st.integers(1, 30))
def test_judges_who_give_everything_the_same_label_have_no_kappa_and_never_one(judges: int, n: int) -> None:
    found = agreement({f"judge {number}": ["harmless"] * n for number in range(judges)})
    assert found.kappa is None
    assert (found.agreed, found.n) == (1, n)


def test_judges_who_never_agree_because_each_has_one_label_are_no_better_than_chance() -> None:
    assert agreement({"x": ["a"] * 5, "y": ["b"] * 5}).kappa == 0


def test_an_item_on_which_a_judge_did_not_vote_is_dropped_and_counted() -> None:
    found = agreement({"x": ["a", "b", None, "a"], "y": ["a", "b", "b", None]})
    assert (found.kappa, found.n, found.dropped) == (1, 2, 2)


@pytest.mark.parametrize("votes", [{}, {"x": ["a", "b"]}, {"x": [], "y": []}, {"x": [None], "y": ["a"]}])
def test_without_two_judges_on_one_item_there_is_no_agreement(votes: dict[str, list[str | None]]) -> None:
    found = agreement(votes)
    assert (found.kappa, found.agreed) == (None, None)


def test_judges_of_different_items_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        agreement({"x": ["a", "b"], "y": ["a"]})


@given(st.integers(2, 4).flatmap(lambda n: st.lists(st.tuples(*[LABELS] * n), min_size=1)), st.randoms())
def test_neither_the_order_of_items_nor_the_names_of_labels_change_kappa(
    items: list[tuple[str, ...]], draw: random.Random
) -> None:
    kappa = cohen_kappa if len(items[0]) == 2 else fleiss_kappa
    renamed = [tuple(label.upper() for label in item) for item in draw.sample(items, len(items))]
    before, after = kappa(items), kappa(renamed)
    assert before == after or before == pytest.approx(after)
    assert before is None or before <= 1


# --- wins


def test_wins_are_counted_with_ties_as_halves_and_without_them() -> None:
    found = wins([1, 1, 1, 0, 0.5, 0.5, NAN])
    assert (found.won, found.lost, found.tied, found.unscored) == (3, 1, 2, 1)
    assert found.rate == pytest.approx(4 / 6)
    assert found.of_decided == 0.75


def test_nothing_but_ties_has_a_rate_and_no_decided_one() -> None:
    assert (wins([0.5]).rate, wins([0.5]).of_decided) == (0.5, None)
    assert wins([NAN]).rate is None


def test_a_value_that_no_comparison_gives_is_refused() -> None:
    with pytest.raises(ValueError, match=r"0\.3"):
        wins([0.3])
