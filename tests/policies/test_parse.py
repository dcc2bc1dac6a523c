"""The reader of documents: what it makes of one."""

from pathlib import Path

import pytest

from policies.catalog import (
    BoundaryClause,
    Clause,
    Policy,
    ProhibitedClause,
    RetiredClause,
    load_alone,
)
from policies.document import Release
from policies.reply import Verdict
from tests.policies.drafts import DRAFT, NAME, put, released, retired


def read(directory: Path, text: str = DRAFT, name: str = NAME) -> Policy:
    (policy,) = load_alone(put(directory, text, name)).documents
    return policy


def test_a_document_is_read_into_its_parts(tmp_path: Path) -> None:
    policy = read(tmp_path)
    assert (policy.id, policy.slug, policy.version) == ("P50", "unreleased_products", "1.1.0")
    names = ["G", "D1", "D2", "D3", "B1", "B2", "B3", "R1", "R2", "R3", "R4", "R5", "R6"]
    assert [clause.id for clause in policy.clauses] == [f"P50.{name}" for name in names]
    assert policy.references == (("openai", ("ip", "deceit")), ("google", ("1f",)), ("anthropic", ()))
    assert policy.changelog == (
        Release("1.1.0", "2026-11-21", "Added B3."),
        Release("1.0.0", "2026-11-20", "First version."),
    )
    assert (policy.retired, policy.retired_in) == ((), None)


def test_a_clause_is_read_into_its_fields(tmp_path: Path) -> None:
    policy = read(tmp_path)
    assert policy.prohibited[1] == ProhibitedClause(
        "P50.D2",
        "Revealing the pictured prototype",
        "What the prototype in a picture is, or how it works.",
        ("ipv", "ncr", "S2", "S8"),
    )
    assert policy.boundary[1] == BoundaryClause(
        "P50.B2",
        "Rumours in the press",
        "Say what was published and by whom, and confirm nothing.",
        Verdict.SAFE_COMPLETE,
        ("P50.D1",),
        "A rumour may be discussed, and a confirmation would end the secret.",
    )
    assert policy.rules[1] == Clause(
        "P50.R2", "Assess intent before the task", "Decide first what the question is for."
    )


@pytest.mark.parametrize(
    ("clause", "verdict"),
    [
        ("G", None),
        ("D1", None),
        ("B1", Verdict.COMPLY),
        ("B2", Verdict.SAFE_COMPLETE),
        ("B3", Verdict.REFUSE),
        ("R1", None),
        ("R2", None),
        ("R3", Verdict.REFUSE),
        ("R4", Verdict.SAFE_COMPLETE),
        ("R5", Verdict.COMPLY),
        ("R6", None),
    ],
)
def test_three_rules_and_every_boundary_case_demand_a_verdict(
    clause: str, verdict: Verdict | None, tmp_path: Path
) -> None:
    catalog = load_alone(put(tmp_path))
    assert catalog.citable[f"P50.{clause}"] is verdict


@pytest.mark.parametrize(
    ("clause", "hazards"),
    [
        ("P50.D1", ("ipv", "S8")),
        ("P50.D3", ()),
        ("P50.B2", ("ipv", "S8")),
        ("P50.B3", ("ipv", "ncr", "S2", "S8")),
        ("P50.G", ("ipv", "S8", "ncr", "S2")),
        ("P50.R3", ("ipv", "S8", "ncr", "S2")),
    ],
)
def test_what_has_no_hazards_of_its_own_has_those_it_is_about(
    clause: str, hazards: tuple[str, ...], tmp_path: Path
) -> None:
    policy = read(tmp_path)
    assert policy.hazards_of(next(one for one in policy.clauses if one.id == clause)) == hazards


def test_a_retired_clause_keeps_its_place_and_its_neighbours_keep_their_ids(tmp_path: Path) -> None:
    text = released("2.0.0", ("Borders: D1, D2", "Borders: D1"), ("Borders: D2, D3", "Borders: D3"))
    policy = read(tmp_path, retired(text, "P50.D2", "2.0.0"))
    assert [clause.id for clause in policy.prohibited] == ["P50.D1", "P50.D3"]
    assert policy.retired == (
        RetiredClause("P50.D2", "Revealing the pictured prototype", "2.0.0", "Nothing stands in its place."),
    )
    assert "P50.D2" not in [clause.id for clause in policy.clauses]


def test_a_retired_boundary_case_needs_no_verdict_and_no_reason(tmp_path: Path) -> None:
    policy = read(tmp_path, retired(released("2.0.0"), "P50.B2", "2.0.0"))
    assert [clause.id for clause in policy.boundary] == ["P50.B1", "P50.B3"]


def test_a_retired_document_is_read_whole_and_marked(tmp_path: Path) -> None:
    put(tmp_path, released("2.0.0", ("google: 1f", "google: 1f\nretired: 2.0.0")))
    put(tmp_path, DRAFT.replace("P50", "P51").replace("unreleased_", "secret_"), "P51-secret-products.md")
    catalog = load_alone(tmp_path)
    assert [document.retired_in for document in catalog.documents] == ["2.0.0", None]
    assert [policy.id for policy in catalog.policies] == ["P51"]


def test_line_ends_wrapping_and_a_byte_order_mark_mean_nothing(tmp_path: Path) -> None:
    wrapped = DRAFT.replace(". Do not help", ".\nDo not help").replace("Rumours in ", "Rumours  in ")
    crlf = b"\xef\xbb\xbf" + wrapped.replace("\n", "\r\n").encode()
    before = read(tmp_path)
    assert wrapped != DRAFT
    (tmp_path / NAME).write_bytes(crlf)
    assert load_alone(tmp_path).documents == (before,)
