"""What differs between two states of the policies, clause by clause."""

from collections.abc import Callable
from pathlib import Path

import pytest

from policies.catalog import load_alone
from policies.compare import Change, Kind, State, changes
from tests.policies.drafts import DRAFT, as_policy, edited, put, released, retired

D4 = "### P50.D4 Selling what is not announced\n\nHazards: ncr, S2\n\nOffers of it.\n\n## B: Boundary"
CHANGED: dict[str, tuple[str, str, list[tuple[str, Kind]]]] = {
    "nothing": (DRAFT, DRAFT, []),
    "a text": (DRAFT, edited(DRAFT, ("Name, date or", "Name or")), [("P50.D1", Kind.REWORDED)]),
    "a title": (DRAFT, edited(DRAFT, ("Rumours in", "Rumours from")), [("P50.B2", Kind.REWORDED)]),
    "a reason": (DRAFT, edited(DRAFT, ("is no secret", "is known")), [("P50.B1", Kind.REWORDED)]),
    "a verdict": (
        DRAFT,
        edited(DRAFT, ("Verdict: safe_complete", "Verdict: comply")),
        [("P50.B2", Kind.REDECIDED)],
    ),
    "a verdict and the words": (
        DRAFT,
        edited(DRAFT, ("Verdict: safe_complete", "Verdict: comply"), ("Say what was", "Say what is")),
        [("P50.B2", Kind.REDECIDED)],
    ),
    "what no model learns": (
        DRAFT,
        released("1.1.1", ("google: 1f", "google: 1e"), ("Hazards: ipv, S8", "Hazards: none")),
        [],
    ),
    "a clause more": (DRAFT, edited(DRAFT, ("## B: Boundary", D4)), [("P50.D4", Kind.ADDED)]),
    "a clause less": (edited(DRAFT, ("## B: Boundary", D4)), DRAFT, [("P50.D4", Kind.REMOVED)]),
    "a tombstone": (DRAFT, retired(released("2.0.0"), "P50.B2", "2.0.0"), [("P50.B2", Kind.RETIRED)]),
    "a tombstone dug up": (
        retired(released("2.0.0"), "P50.B2", "2.0.0"),
        DRAFT,
        [("P50.B2", Kind.REUSED)],
    ),
    "a tombstone on both sides": (
        retired(released("2.0.0"), "P50.B2", "2.0.0"),
        retired(released("2.0.1"), "P50.B2", "2.0.1"),
        [],
    ),
    "several clauses": (
        DRAFT,
        edited(DRAFT, ("Tell what was", "Tell what is"), ("Name, date or", "Name or")),
        [("P50.D1", Kind.REWORDED), ("P50.R4", Kind.REWORDED)],
    ),
}


@pytest.fixture
def state(tmp_path: Path) -> Callable[[str], State]:
    return lambda text: State.of(load_alone(put(tmp_path, text)))


@pytest.mark.parametrize(("old", "new", "expected"), CHANGED.values(), ids=CHANGED)
def test_every_clause_that_differs_is_found(
    state: Callable[[str], State], old: str, new: str, expected: list[tuple[str, Kind]]
) -> None:
    found = changes(state(old), state(new))
    assert [(one.clause, one.kind) for one in found] == expected
    assert {one.policy for one in found} <= {"P50"}


def test_a_change_carries_what_the_clause_said_and_says_now(state: Callable[[str], State]) -> None:
    (change,) = changes(state(DRAFT), state(edited(DRAFT, ("Name, date or", "Name or"))))
    assert change.old
    assert change.new
    assert change.old.text == "Name, date or price of a product that nobody has announced."
    assert change.new.text == "Name or price of a product that nobody has announced."


def test_fingerprints_alone_tell_what_differs(state: Callable[[str], State]) -> None:
    old, new = state(DRAFT), state(edited(DRAFT, ("Verdict: safe_complete", "Verdict: refuse")))
    assert changes(State(dict(old.fingerprints)), new) == (
        Change("P50.B2", Kind.REDECIDED, None, new.clauses["P50.B2"]),
    )
    assert changes(State(dict(old.fingerprints)), State(dict(old.fingerprints))) == ()


def test_a_whole_document_is_added_retired_and_dug_up(tmp_path: Path) -> None:
    old = State.of(load_alone(put(tmp_path)))
    put(tmp_path, *as_policy("P51", "secrets"))
    both = State.of(load_alone(tmp_path))
    put(tmp_path, edited(DRAFT, ("google: 1f", "google: 1f\nretired: 1.1.0")))
    buried = State.of(load_alone(tmp_path))
    assert {(one.policy, one.kind) for one in changes(old, both)} == {("P51", Kind.ADDED)}
    assert {(one.policy, one.kind) for one in changes(both, buried)} == {("P50", Kind.RETIRED)}
    assert {(one.policy, one.kind) for one in changes(buried, both)} == {("P50", Kind.REUSED)}
    assert len(changes(both, buried)) == len(old.fingerprints)
