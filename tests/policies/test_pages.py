"""The browsable pages: every link leads somewhere, and they are what the documents say."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from policies.__main__ import main
from policies.catalog import load_catalog
from policies.taxonomies import TAXONOMIES
from tests.policies.drafts import DRAFT, NAME, PACKAGED, edit, put, released, retired

REPOSITORY = PACKAGED.parents[1]
CATALOG = load_catalog()
Output = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packaged policies as pages."""
    directory = tmp_path_factory.mktemp("pages") / "new" / "policies"
    assert main(["pages", str(directory)]) == 0
    return directory


@pytest.fixture
def team(tmp_path: Path) -> Path:
    """A team's documents, with a tombstone, and their pages in `pages` beside them."""
    put(tmp_path, retired(released("2.0.0"), "P50.B2", "2.0.0"))
    (tmp_path / "policies.toml").write_text("extends = false", encoding="utf-8")
    assert pages(tmp_path) == 0
    return tmp_path


def pages(team: Path, *arguments: str) -> int:
    return main(["pages", str(team / "pages"), "--policies", str(team), *arguments])


def links(directory: Path) -> Iterator[tuple[str, str, str]]:
    """Page, file and anchor of every link."""
    for page in directory.glob("*.md"):
        for file, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", page.read_text(encoding="utf-8")):
            yield page.name, file or page.name, anchor


def anchors(page: Path) -> set[str]:
    """Those written as such, and those that a forge makes of headings."""
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    made = {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}
    return made | set(re.findall(r'<a id="([^"]+)"></a>', text))


def test_there_is_a_page_per_policy_an_index_and_the_mapping(packaged: Path) -> None:
    expected = {"README.md", "mapping.md", *(policy.file_name for policy in CATALOG.policies)}
    assert {page.name for page in packaged.iterdir()} == expected


def test_every_link_leads_to_a_page_and_an_anchor_on_it(packaged: Path) -> None:
    known = {page.name: anchors(page) for page in packaged.iterdir()}
    found = list(links(packaged))
    assert len(found) > len(CATALOG.clause_ids)
    dead = [one for one in found if one[1] not in known or (one[2] and one[2] not in known[one[1]])]
    assert dead == []


def test_every_clause_has_its_anchor_and_its_words_on_the_page_of_its_policy(packaged: Path) -> None:
    for policy in CATALOG.policies:
        text = (packaged / policy.file_name).read_text(encoding="utf-8")
        for clause in policy.clauses:
            heading = f'<a id="{clause.id}"></a>\n\n### {clause.id} {clause.title}\n\n'
            assert text.count(heading) == 1, clause.id
            assert clause.text in text.split(heading)[1].split("<a id=")[0], clause.id
        assert all(f"*{case.reason}*" in text for case in policy.boundary)


def test_the_index_links_every_policy_and_every_boundary_case(packaged: Path) -> None:
    targets = {(file, anchor) for page, file, anchor in links(packaged) if page == "README.md"}
    for policy in CATALOG.policies:
        assert (policy.file_name, "") in targets
        assert {(policy.file_name, case.id) for case in policy.boundary} <= targets


def test_the_mapping_has_a_row_for_every_entry(packaged: Path) -> None:
    text = (packaged / "mapping.md").read_text(encoding="utf-8")
    for taxonomy in TAXONOMIES.values():
        _, _, section = text.partition(f"## {taxonomy.title}, {taxonomy.edition}\n")
        codes = re.findall(r"^\| `(\w+)` \|", section.split("\n## ")[0], re.MULTILINE)
        assert codes == list(taxonomy.entries)


def test_the_mapping_names_what_no_taxonomy_names(team: Path) -> None:
    text = (team / "pages" / "mapping.md").read_text(encoding="utf-8")
    assert f"do not name these: [P50.D3]({NAME}#P50.D3).\n" in text
    assert f"| `S8` | Intellectual property | [P50.D1]({NAME}#P50.D1), [P50.D2]({NAME}#P50.D2) |" in text
    assert "| `S10` | Hate | – |" in text


def test_a_page_shows_tombstones_references_and_history(team: Path) -> None:
    text = (team / "pages" / NAME).read_text(encoding="utf-8")
    assert "- P50.B2 Rumours in the press, until 2.0.0: Nothing stands in its place.\n" in text
    assert (
        "- OpenAI usage policies (2025-10-29): Infringement of intellectual property (`ip`); Deceit" in text
    )
    assert "- Anthropic usage policy (2025-09-15): nothing\n" in text
    assert "- **1.1.0** (2026-11-21): Added B3.\n" in text
    assert "🔴 refuse · borders on [D2](#P50.D2), [D3](#P50.D3)" in text


def test_a_bar_in_a_title_stays_within_its_cell(team: Path) -> None:
    edit(team / NAME, ("title: Unreleased products", "title: Products | secrets"))
    assert pages(team) == 0
    assert "| [P50 Products \\| secrets]" in (team / "pages" / "README.md").read_text(encoding="utf-8")


def test_equal_documents_make_equal_pages(packaged: Path, tmp_path: Path) -> None:
    assert main(["pages", str(tmp_path)]) == 0
    assert {page.name: page.read_bytes() for page in tmp_path.iterdir()} == {
        page.name: page.read_bytes() for page in packaged.iterdir()
    }


def test_pages_just_written_are_up_to_date(team: Path, capsys: Output) -> None:
    assert pages(team, "--check") == 0
    assert capsys.readouterr().out.endswith("all pages are up to date\n")


def test_a_page_that_is_missing_stale_or_left_over_is_named(team: Path, capsys: Output) -> None:
    directory = team / "pages"
    (directory / "P51-old.md").write_bytes((directory / NAME).read_bytes())
    (directory / "mapping.md").unlink()
    edit(team / NAME, ("Say that it is", "Say why it is"))
    capsys.readouterr()
    assert pages(team, "--check") == 1
    assert capsys.readouterr().out == f"not up to date: README.md, mapping.md, {NAME}, P51-old.md\n"
    assert not (directory / "mapping.md").exists()


def test_writing_again_brings_pages_up_to_date(team: Path) -> None:
    (team / NAME).unlink()
    put(team, DRAFT.replace("slug: unreleased_products", "slug: secrets"), "P50-secrets.md")
    assert pages(team) == 0
    assert pages(team, "--check") == 0
    assert not (team / "pages" / NAME).exists()


def test_checking_where_there_are_no_pages_writes_none(tmp_path: Path) -> None:
    assert main(["pages", str(tmp_path / "none"), "--check"]) == 1
    assert not (tmp_path / "none").exists()


def test_other_files_in_the_directory_are_left_alone(team: Path) -> None:
    directory = team / "pages"
    (directory / "notes.md").write_bytes("café".encode("latin-1"))
    (directory / "picture.png").write_bytes(b"\x89PNG")
    assert pages(team) == 0
    assert pages(team, "--check") == 0
    assert (directory / "notes.md").read_bytes() == "café".encode("latin-1")
    assert (directory / "picture.png").exists()


@pytest.mark.parametrize("name", ["README.md", NAME])
def test_a_file_that_is_no_page_is_never_written_over(name: str, team: Path, capsys: Output) -> None:
    page = team / "pages" / name
    page.write_text("# Mine", encoding="utf-8")
    edit(team / NAME, ("Say that it is", "Say why it is"))
    assert pages(team) == 2
    assert capsys.readouterr().err.startswith(f"{page} was not made by this command: give another directory")
    assert page.read_text(encoding="utf-8") == "# Mine"


def test_the_documents_are_not_written_over_by_their_pages(team: Path) -> None:
    """A document and its page have the same name."""
    before = (team / NAME).read_bytes()
    assert main(["pages", str(team), "--policies", str(team)]) == 2
    assert (team / NAME).read_bytes() == before
    assert not (team / "README.md").exists()


def test_docs_policies_are_what_the_documents_say(capsys: Output) -> None:
    assert main(["pages", str(REPOSITORY / "docs" / "policies"), "--check"]) == 0, capsys.readouterr().out
