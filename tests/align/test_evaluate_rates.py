"""A rate's interval where a request is asked over many pictures: what n is worth, and what it covers."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from align.evaluate.rates import NothingScored, clustered_wilson, effective_size, wilson

Asked = list[tuple[float, str]]


def asked(*requests: tuple[int, int]) -> tuple[list[float], list[int]]:
    """Values and requests: of each request, how often it hit and how often it was asked."""
    rows = [(float(i < hits), name) for name, (hits, n) in enumerate(requests) for i in range(n)]
    return [value for value, _ in rows], [name for _, name in rows]


def test_samples_that_all_ask_something_else_have_wilsons_interval() -> None:
    values, _ = asked((30, 100))
    assert effective_size(values, range(100)) == 100
    assert clustered_wilson(values, range(100)) == wilson(30, 100)


def test_a_request_that_decides_all_of_its_samples_is_worth_one_however_often_it_is_asked() -> None:
    for often in (2, 50):
        values, requests = asked(*[(often, often)] * 3, *[(0, often)] * 7)
        assert effective_size(values, requests) == pytest.approx(10)
        found, once = clustered_wilson(values, requests), wilson(3, 10)
        assert (found.value, found.low, found.high) == pytest.approx((once.value, once.low, once.high))


def test_the_effective_size_is_the_one_computed_by_hand() -> None:
    # Requests hit 8, 6, 2 and 4 of 10 times; share 0.5. Between: (9+1+9+1)/40² · 4/3 = 0.016667. Of 40
    # samples apart: 0.25/39 = 0.0064103. Effect 2.6. Student: t39 = 2.02269, t3 = 3.18245; squared 0.40396.
    values, requests = asked((8, 10), (6, 10), (2, 10), (4, 10))
    assert effective_size(values, requests) == pytest.approx(40 / 2.6 * 0.40396, rel=1e-4)


def test_requests_that_are_asked_unequally_often_are_worth_less_than_their_number() -> None:
    values, requests = asked((90, 90), (0, 5), (0, 5))
    assert effective_size(values, requests) == pytest.approx(100**2 / (90**2 + 5**2 + 5**2))


@pytest.mark.parametrize("hits", [0, 20])
def test_where_every_sample_says_the_same_nothing_between_requests_is_estimated(hits: int) -> None:
    values, requests = asked((hits, 20), (hits, 20))
    assert clustered_wilson(values, requests) == wilson(2 * hits, 40)


def test_one_request_tells_nothing_of_others_and_keeps_its_own_interval() -> None:
    assert clustered_wilson(*asked((5, 20))) == wilson(5, 20)


def test_nothing_scored_is_no_rate() -> None:
    with pytest.raises(NothingScored):
        clustered_wilson([], [])


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from("abcdef")), min_size=1))
def test_an_interval_is_never_narrower_than_wilsons_nor_wider_than_that_of_whole_requests(
    rows: Asked,
) -> None:
    values, requests = [value for value, _ in rows], [name for _, name in rows]
    n = len(rows)
    found, plain = clustered_wilson(values, requests), wilson(sum(values), n)
    assert found.low <= plain.low + 1e-9
    assert found.high >= plain.high - 1e-9
    least = n * n / sum(count**2 for count in Counter(requests).values())
    assert least - 1e-9 <= effective_size(values, requests) <= n + 1e-9


def test_of_requests_that_differ_the_interval_covers_the_truth_where_wilsons_does_not() -> None:
    """Requests with rates of their own, 0.3 on average: beta-distributed, samples alike by 0.1."""
    draw, covered = random.Random(5), Counter[str]()
    for _ in range(200):
        rates = [draw.betavariate(2.7, 6.3) for _ in range(12)]
        values, requests = asked(*[(sum(draw.random() < rate for _ in range(40)), 40) for rate in rates])
        for name, found in (
            ("by request", clustered_wilson(values, requests)),
            ("by sample", wilson(sum(values), len(values))),
        ):
            covered[name] += found.low <= 0.3 <= found.high
    assert covered["by request"] > 0.9 * 200
    assert covered["by sample"] < 0.75 * 200
