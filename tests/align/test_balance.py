"""Balance: no value of any axis dominates, the same rows every time, nothing lost that there is room for."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from align.stages.balance import balanced, balanced_apart, split

Item = tuple[str, str, int]


def draw(items: list[Item], count: int) -> list[Item]:
    return balanced(items, count, axes=lambda item: item[:2], lot=lambda item: str(item))


def test_rows_of_one_category_give_way_until_all_have_the_same() -> None:
    items = [("a", "x", n) for n in range(100)] + [("b", "x", n) for n in range(10)]
    assert Counter(item[0] for item in draw(items, 20)) == {"a": 10, "b": 10}


def test_a_category_that_has_too_few_keeps_all() -> None:
    items = [("a", "x", n) for n in range(100)] + [("b", "x", n) for n in range(3)]
    assert Counter(item[0] for item in draw(items, 20)) == {"a": 17, "b": 3}


def test_every_axis_is_balanced() -> None:
    items = [(c, s, n) for c in "abcd" for s, many in (("x", 40), ("y", 10)) for n in range(many)]
    taken = draw(items, 80)
    assert set(Counter(item[0] for item in taken).values()) == {20}
    assert Counter(item[1] for item in taken) == {"x": 40, "y": 40}


def test_which_rows_are_taken_does_not_depend_on_their_order() -> None:
    items = [(c, "x", n) for c in "abc" for n in range(50)]
    assert set(draw(items, 30)) == set(draw(items[::-1], 30))
    assert draw(items, 30) != items[:30]


def test_another_draw_takes_other_rows() -> None:
    items = [("a", "x", n) for n in range(50)]
    again = balanced(items, 10, axes=lambda item: item[:2], lot=lambda item: f"2 {item}")
    assert set(again) != set(draw(items, 10))


def draw_apart(items: list[Item], count: int, share: float | None) -> Counter[str]:
    """How many of each category, of which "a" is apart."""
    taken = balanced_apart(
        items,
        count,
        apart=lambda item: item[0] == "a",
        share=share,
        axes=lambda item: item[:2],
        lot=lambda item: str(item),
    )
    assert taken == [item for item in items if item in set(taken)]
    return Counter(item[0] for item in taken)


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (None, {"a": 10, "b": 10, "c": 10}),
        (0.5, {"a": 15, "b": 7, "c": 8}),
        (0.0, {"b": 15, "c": 15}),
        (1.0, {"a": 25, "b": 2, "c": 3}),  # five more than there are of "a"
    ],
)
def test_what_is_set_apart_has_its_share_and_the_rest_is_balanced(
    share: float | None, expected: dict[str, int]
) -> None:
    items = [(c, "x", n) for c in "abc" for n in range(25)]
    assert draw_apart(items, 30, share) == expected


@given(
    st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from("xyz"), st.integers()), unique=True),
    st.integers(0, 40),
)
def test_as_many_as_asked_in_the_order_they_came(items: list[Item], count: int) -> None:
    taken = draw(items, count)
    assert len(taken) == min(count, len(items))
    assert taken == [item for item in items if item in set(taken)]


@given(
    st.lists(st.tuples(st.sampled_from("abcde"), st.just("x"), st.integers()), unique=True),
    st.integers(1, 40),
)
def test_no_category_has_more_than_one_above_another_that_had_rows_left(
    items: list[Item], count: int
) -> None:
    before, after = Counter(i[0] for i in items), Counter(i[0] for i in draw(items, count))
    for kind in before:
        for other in before:
            if after[other] < before[other]:
                assert after[kind] <= after[other] + 1


@pytest.mark.parametrize(
    ("harmful", "benign", "expected"),
    [(500, 500, (60, 40)), (500, 10, (90, 10)), (20, 500, (20, 80)), (20, 10, (20, 10)), (0, 0, (0, 0))],
)
def test_what_one_kind_lacks_the_other_fills(harmful: int, benign: int, expected: tuple[int, int]) -> None:
    assert split(100, 0.4, harmful, benign) == expected
