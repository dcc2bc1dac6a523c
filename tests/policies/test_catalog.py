"""The catalog: clauses by id, which verdicts they demand, and a digest over what a model learns."""

import subprocess
import sys
from pathlib import Path

import pytest

from policies.catalog import BoundaryClause, Catalog, CatalogError, ProhibitedClause, load_alone
from policies.reply import Verdict
from tests.policies.drafts import DRAFT, NAME, PACKAGED, as_policy, edit, edited, put, released, retired


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    """Two policies, P50 and P51."""
    return put(put(tmp_path), *as_policy("P51", "secret_recipes"))


def test_any_number_of_policies_is_a_catalog(documents: Path) -> None:
    catalog = load_alone(documents)
    assert [policy.id for policy in catalog.policies] == ["P50", "P51"]
    assert catalog.clause_ids[:2] == ("P50.G", "P50.D1")
    assert len(set(catalog.clause_ids)) == 26


def test_a_clause_is_found_by_its_id_and_a_policy_by_id_or_slug(documents: Path) -> None:
    catalog = load_alone(documents)
    clause = catalog.clause("P50.D1")
    assert isinstance(clause, ProhibitedClause)
    assert (clause.id, clause.title) == ("P50.D1", "Naming a product before its release")
    assert isinstance(catalog.clause("P51.B3"), BoundaryClause)
    assert catalog.policy("P51") is catalog.policy("secret_recipes") is catalog.policies[1]


def test_what_does_not_exist_is_none(documents: Path) -> None:
    catalog = load_alone(documents)
    assert [catalog.clause(name) for name in ("P52.D1", "P50.D4", "P50", "")] == [None] * 4
    assert [catalog.policy(name) for name in ("P52", "Unreleased products", "")] == [None] * 3


def test_a_reply_may_cite_every_clause_that_is_in_force(documents: Path) -> None:
    (documents / NAME).write_text(retired(released("2.0.0"), "P50.B2", "2.0.0"), encoding="utf-8")
    catalog = load_alone(documents)
    assert tuple(catalog.citable) == catalog.clause_ids
    assert "P50.B2" not in catalog.citable
    assert catalog.clause("P50.B2") is None
    assert catalog.citable["P51.B2"] is Verdict.SAFE_COMPLETE
    assert catalog.retired_ids == {"P50.B2"}


def test_nothing_of_a_retired_document_may_be_cited(documents: Path) -> None:
    edit(documents / NAME, ("google: 1f", "google: 1f\nretired: 1.1.0"))
    catalog = load_alone(documents)
    assert catalog.policy("P50") is None
    assert catalog.retired_ids == {id_ for id_ in load_alone(put(documents)).clause_ids if "P50" in id_}
    assert {id_.partition(".")[0] for id_ in catalog.citable} == {"P51"}


def test_citations_can_be_limited_to_some_policies(documents: Path) -> None:
    catalog = load_alone(documents)
    only = catalog.citable_of(["secret_recipes"])
    assert dict(only) == {id_: verdict for id_, verdict in catalog.citable.items() if "P51" in id_}
    assert catalog.citable_of(["P50", "P51", "P50"]) == catalog.citable
    assert catalog.citable_of([]) == {}


def test_a_limit_to_an_unknown_policy_says_which_there_are(documents: Path) -> None:
    with pytest.raises(CatalogError, match="'P52' is no policy; there are P50, P51"):
        load_alone(documents).citable_of(["P50", "P52"])


@pytest.mark.parametrize(
    ("use", "read"),
    [
        ("import policies.prompt, policies.categorise, policies.__main__", False),
        ("from policies.catalog import load_catalog; load_catalog()", True),
    ],
    ids=["import", "load"],
)
def test_documents_are_read_on_loading_and_not_on_import(use: str, read: bool) -> None:
    watch = "import sys; sys.addaudithook(lambda event, given: event == 'open' and print(given[0]))"
    done = subprocess.run(
        [sys.executable, "-c", f"{watch}; {use}"],
        capture_output=True,
        text=True,
        check=True,
        cwd=PACKAGED.parents[1],
    )
    assert ("P01-animal-abuse.md\n" in done.stdout) is read


def digest(documents: Path) -> str:
    return load_alone(documents).digest


def test_the_digest_does_not_depend_on_the_order_of_files(documents: Path) -> None:
    before = digest(documents)
    contents = {path: path.read_bytes() for path in documents.iterdir()}
    for path in contents:
        path.unlink()
    for path in sorted(contents, reverse=True):
        path.write_bytes(contents[path])
    assert digest(documents) == before
    assert len(before) == 64


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Hazards: ipv, S8", "Hazards: none"),
        ("google: 1f", "google: 1e"),
        ("Borders: D2, D3", "Borders: D3"),
        ("version: 1.1.0", "version: 1.1.1"),
        ("First version.", "The first version."),
        (". Do not help", ".\n  Do not help"),
        ("\n## R", "\n\n\n## R"),
    ],
    ids=["hazards", "references", "borders", "version", "changelog", "wrapping", "blank lines"],
)
def test_the_digest_leaves_alone_what_no_model_learns(documents: Path, old: str, new: str) -> None:
    before = digest(documents)
    text = released("1.1.1") if old.startswith("version") else edited(DRAFT, (old, new))
    put(documents, text)
    assert digest(documents) == before


@pytest.mark.parametrize(
    ("old", "new", "clause"),
    [
        ("title: Unreleased products", "title: Unreleased goods", None),
        ("belongs to those", "belongs to all those", "P50.G"),
        ("Name, date or price", "Name, date and price", "P50.D1"),
        ("Naming a product before its", "Naming products before their", "P50.D1"),
        ("Verdict: safe_complete", "Verdict: refuse", "P50.B2"),
        ("is no secret", "is not secret", "P50.B1"),
        ("Say that it is confidential", "Say why it is confidential", "P50.R6"),
    ],
    ids=["policy's title", "principle", "text", "title", "verdict", "reason", "rule"],
)
def test_the_digest_changes_with_one_word_and_the_fingerprint_tells_where(
    documents: Path, old: str, new: str, clause: str | None
) -> None:
    before = load_alone(documents)
    edit(documents / NAME, (old, new))
    after = load_alone(documents)
    assert after.digest != before.digest
    assert [id_ for id_, one in after.fingerprints.items() if one != before.fingerprints[id_]] == (
        [clause] if clause else []
    )


def test_the_digest_changes_with_another_slug(documents: Path) -> None:
    before = digest(documents)
    (documents / NAME).unlink()
    assert digest(put(documents, *as_policy("P50", "secrets"))) != before


def test_a_tombstone_takes_its_clause_out_of_the_digest_and_says_nothing_itself(documents: Path) -> None:
    before = digest(documents)
    put(documents, retired(released("2.0.0"), "P50.B2", "2.0.0"))
    buried = digest(documents)
    edit(documents / NAME, ("Nothing stands in its place.", "B3 stands in its place."))
    assert digest(documents) == buried != before


def test_a_fingerprint_says_which_verdict_its_clause_demands(documents: Path) -> None:
    fingerprints = load_alone(documents).fingerprints
    assert fingerprints["P50.B2"].startswith("safe_complete:")
    assert fingerprints["P50.R3"].startswith("refuse:")
    assert ":" not in fingerprints["P50.D1"]


def test_equal_words_under_another_id_are_another_clause(documents: Path) -> None:
    fingerprints = load_alone(documents).fingerprints
    assert len(set(fingerprints.values())) == len(fingerprints)


def test_an_empty_catalog_has_no_clauses() -> None:
    assert Catalog(()).clause_ids == ()
