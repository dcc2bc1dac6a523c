"""The report's shades, histograms, samples and spellings of numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from align.report.figures import heat
from align.report.histogram import HEIGHT, WIDTH, histogram, ratio_histogram
from align.report.sample import Sample
from align.report.spelling import duration, percent, shortened


def test_a_lower_mean_has_a_deeper_shade() -> None:
    shades = heat("", ("a",) * 5, {"x": (1, (5.0, 4.9, 3.0, 2.0, 1.0))}).rows[0].shades
    assert (shades[0], shades[-1]) == (0, 100)
    assert sorted(set(shades)) == list(shades)


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=200))
def test_a_histogram_counts_every_value_once_and_stays_in_its_frame(values: list[int]) -> None:
    drawn = histogram("t", values, "characters")
    assert sum(one.count for one in drawn.bins) == len(values)
    assert len(drawn.bins) <= 40
    assert all(one.x >= 0 and one.x + one.width <= WIDTH for one in drawn.bins)
    assert all(one.y >= 0 and one.y + one.height <= HEIGHT for one in drawn.bins)
    assert 1 <= len(drawn.ticks) <= 7
    assert all(0 <= one.x <= WIDTH for one in (*drawn.ticks, *drawn.marks))


def test_a_few_long_replies_do_not_flatten_a_histogram() -> None:
    drawn = histogram("t", [*range(200, 400), *[6000] * 5], "characters")
    assert len([one for one in drawn.bins if one.count]) > 10
    assert (drawn.bins[-1].count, drawn.bins[-1].tail) == (5, True)
    assert drawn.bins[-1].text.endswith("and more")


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=100))
def test_a_histogram_of_ratios_counts_every_value_once(ratios: list[float]) -> None:
    drawn = ratio_histogram("t", ratios)
    assert sum(one.count for one in drawn.bins) == len(ratios)
    assert all(one.x >= 0 and one.x + one.width <= WIDTH for one in drawn.bins)


@given(st.permutations(range(12)))
def test_a_sample_does_not_depend_on_the_order(order: list[int]) -> None:
    one, other = Sample[int](), Sample[int]()
    for number in order:
        one.add(str(number), number)
    for number in range(12):
        other.add(str(number), number)
    assert one.items == other.items
    assert len(one.items) == 3


@pytest.mark.parametrize(
    ("share", "told"),
    [(0.0, "0.0 %"), (0.0001, "< 0.1 %"), (0.5, "50.0 %"), (0.9999, "> 99.9 %"), (1.0, "100.0 %")],
)
def test_a_share_is_never_rounded_to_all_or_nothing(share: float, told: str) -> None:
    assert percent(share) == told


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.0, "0.0 s"),
        (59.4, "59.4 s"),
        (59.97, "1 min 00 s"),
        (3599.7, "1 h 00 min"),
        (37_000.0, "10 h 16 min"),
    ],
)
def test_times_are_told_in_fitting_units(seconds: float, told: str) -> None:
    assert duration(seconds) == told


def test_text_that_is_cut_says_how_long_it_is() -> None:
    assert shortened("a" * 5000, 10) == "a" * 10 + "… (5,000 characters in all)"
    assert shortened("two\nlines\t\ud800") == "two\nlines\t⟨U+D800⟩"
