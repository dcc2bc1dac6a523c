"""The catalog: strict about documents, indifferent to files; every error names the file and a remedy."""

from collections.abc import Callable
from pathlib import Path

import pytest

from policies.catalog import BoundaryClause, Catalog, CatalogError, Clause, load_catalog
from policies.reply import Verdict

FIRST = "P01-animal-abuse.md"
PACKAGED = Path(__file__).parents[2] / "policies" / "documents"
Edit = Callable[[str], str]


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    for document in PACKAGED.glob("P0[123]-*.md"):
        (tmp_path / document.name).write_bytes(document.read_bytes())
    return tmp_path


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_any_number_of_policies_is_a_catalog(documents: Path) -> None:
    catalog = load_catalog(documents)
    assert [policy.id for policy in catalog.policies] == ["P01", "P02", "P03"]
    assert catalog.clause_ids[:2] == ("P01.G", "P01.D1")
    assert len(catalog.clause_ids) == len(set(catalog.clause_ids))


def test_a_clause_is_found_by_its_id_and_a_policy_by_id_or_slug(documents: Path) -> None:
    catalog = load_catalog(documents)
    clause = catalog.clause("P01.D1")
    assert type(clause) is Clause
    assert (clause.id, clause.title) == ("P01.D1", "Helping to hurt an animal")
    boundary = catalog.clause("P01.B3")
    assert isinstance(boundary, BoundaryClause)
    assert boundary.verdict is Verdict.SAFE_COMPLETE
    assert catalog.clause("P99.D1") is None
    assert catalog.policy("P02") is catalog.policy("dangerous_behavior") is catalog.policies[1]
    assert catalog.policy("P99") is None


def test_the_digest_does_not_depend_on_line_ends_wrapping_or_a_byte_order_mark(documents: Path) -> None:
    before = load_catalog(documents).digest
    for path in documents.iterdir():
        text = path.read_text(encoding="utf-8").replace(",\n", ", ")
        path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert load_catalog(documents).digest == before


def test_the_digest_does_not_depend_on_the_order_of_files(documents: Path) -> None:
    catalog = load_catalog(documents)
    contents = {path: path.read_bytes() for path in documents.iterdir()}
    for path in contents:
        path.unlink()
    for path in sorted(contents, reverse=True):
        path.write_bytes(contents[path])
    assert load_catalog(documents).digest == catalog.digest
    assert len(catalog.digest) == 64


@pytest.mark.parametrize(
    "old", ["suffer", "version: 1.0.0", "Verdict: safe_complete", "google: 3c", "Helping to hurt"]
)
def test_the_digest_changes_with_one_word(documents: Path, old: str) -> None:
    before = load_catalog(documents).digest
    new = {"version: 1.0.0": "version: 1.0.1", "Verdict: safe_complete": "Verdict: refuse"}.get(
        old, f"{old} x"
    )
    edit(documents / FIRST, old, new)
    assert load_catalog(documents).digest != before


BROKEN: dict[str, tuple[str, str, str]] = {
    "no header": ("---\nid", "id", "begin the file with a header"),
    "a header line without a colon": ("slug: animal_abuse", "slug animal_abuse", "as `field: value`"),
    "an unknown field": ("google:", "gogle:", "remove the header field 'gogle'"),
    "a doubled field": ("google: 3c, 1e", "google: 3c\ngoogle: 1e", "only one header field 'google'"),
    "a missing field": ("google: 3c, 1e\n", "", r"add the header field\(s\) google"),
    "a malformed id": ("id: P01", "id: P1", r"'id' is 'P1' but must match P\[0-9\]"),
    "a malformed version": ("version: 1.0.0", "version: one", "'version' is 'one'"),
    "another id than the file's": ("slug: animal_abuse", "slug: animals", "must be named P01-animals.md"),
    "an unknown section": ("## D: Prohibited behaviour", "## D: Forbidden", "in this order"),
    "a missing section": ("## B: Boundary cases", "", "in this order"),
    "text outside a clause": (
        "## D: Prohibited behaviour\n",
        "## D: Prohibited behaviour\nHm.",
        "section D: move",
    ),
    "text before the sections": ("## G: Core", "Hm.\n## G: Core", "move the text 'Hm.'"),
    "a doubled clause": ("### P01.D2", "### P01.D1", r"section D has \['P01.D1', 'P01.D1'"),
    "a gap between clauses": ("### P01.D2", "### P01.D7", "section D has"),
    "a clause of another policy": ("### P01.D2", "### P02.D2", "section D has"),
    "a clause in the wrong section": ("### P01.D2", "### P01.R2", "section D has"),
    "a missing rule": ("### P01.R6", "### P01.R7", "section R has"),
    "two principles": ("## D: Pro", "### P01.D1 One two three\n\nText.\n\n## D: Pro", "section G has"),
    "a heading that is no clause": ("### P01.D2 Targeting", "### P01-D2 Targeting", "as `### id title`"),
    "a title of two words": ("Helping to hurt an animal", "Helping hurting", "three to eight words"),
    "a clause without text": (
        "### P01.D2",
        "### P01.D9 One two three\n\n### P01.D2",
        "write the clause's text",
    ),
    "a boundary case without a verdict": (
        "Verdict: safe_complete\n",
        "",
        "P01.B3: begin with a line `Verdict: `",
    ),
    "an unknown verdict": ("Verdict: safe_complete", "Verdict: maybe", "P01.B3: begin with a line"),
    "a look-alike that is refused": (
        "Verdict: comply",
        "Verdict: refuse",
        "P01.B1 must be the benign look-alike",
    ),
}


@pytest.mark.parametrize(("old", "new", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_document_is_named_with_its_remedy(
    documents: Path, old: str, new: str, message: str
) -> None:
    edit(documents / FIRST, old, new)
    with pytest.raises(CatalogError, match=f"(?s)^{FIRST}: .*{message}"):
        load_catalog(documents)


@pytest.mark.parametrize(
    ("section", "message"), [("D", "P01.D4.*in this order"), ("B", "P01.B2.*in this order")], ids=["D", "B"]
)
def test_too_few_clauses_are_an_error(documents: Path, section: str, message: str) -> None:
    path = documents / FIRST
    text = path.read_text(encoding="utf-8")
    start = text.index(f"### P01.{section}2")
    path.write_text(text[:start] + text[text.index("\n## ", start) :], encoding="utf-8")
    with pytest.raises(CatalogError, match=message):
        load_catalog(documents)


def test_a_gap_between_policies_is_an_error(documents: Path) -> None:
    (documents / "P02-dangerous-behavior.md").unlink()
    with pytest.raises(CatalogError, match=r"^P03-\S+: the next policy is P02; renumber"):
        load_catalog(documents)


def test_two_policies_of_one_id_are_an_error(documents: Path) -> None:
    text = (documents / FIRST).read_text(encoding="utf-8").replace("slug: animal_abuse", "slug: animals")
    (documents / "P01-animals.md").write_text(text, encoding="utf-8")
    with pytest.raises(CatalogError, match=r"^P01-\S+: the next policy is P02"):
        load_catalog(documents)


def test_two_policies_of_one_slug_are_an_error(documents: Path) -> None:
    text = (documents / FIRST).read_text(encoding="utf-8").replace("P01", "P04")
    (documents / "P04-animal-abuse.md").write_text(text, encoding="utf-8")
    with pytest.raises(CatalogError, match=r"^P04-animal-abuse.md: P01 has this slug"):
        load_catalog(documents)


def test_a_file_in_another_encoding_is_an_error(documents: Path) -> None:
    (documents / FIRST).write_bytes("café".encode("latin-1"))
    with pytest.raises(CatalogError, match=f"^{FIRST}: save the file as UTF-8"):
        load_catalog(documents)


def test_other_files_are_left_alone(documents: Path) -> None:
    (documents / "notes.txt").write_text("no policy", encoding="utf-8")
    assert len(load_catalog(documents).policies) == 3


def test_a_directory_without_documents_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="holds no policy documents: add"):
        load_catalog(tmp_path)
    with pytest.raises(CatalogError, match="is not a directory: give"):
        load_catalog(tmp_path / "missing")


def test_an_empty_catalog_has_no_clauses() -> None:
    assert Catalog(()).clause_ids == ()
