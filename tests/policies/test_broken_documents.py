"""The reader of documents is strict: every error names the file, the place and the remedy."""

from pathlib import Path

import pytest

from policies.catalog import CatalogError, load_alone
from tests.policies.drafts import DRAFT, NAME, edited, put, released, retired

TOMBSTONE = "Retired: 1.1.0\n\nGone.\n"
BROKEN: dict[str, tuple[str, str, str]] = {
    "no header": ("---\nid", "id", "begin the file with a header"),
    "a header line without a colon": ("slug: unreleased", "slug unreleased", "as `field: value`"),
    "an unknown field": ("google:", "gogle:", "remove the header field 'gogle'"),
    "a doubled field": ("google: 1f", "google: 1f\ngoogle: 1e", "only one header field 'google'"),
    "a missing field": ("title: Unreleased products\n", "", r"add the header field\(s\) title"),
    "a malformed id": ("id: P50", "id: P5", r"'id' is 'P5' but must match P\[0-9\]"),
    "a malformed version": ("version: 1.1.0", "version: one", "'version' is 'one' but must match"),
    "a version of two numbers": ("version: 1.1.0", "version: 1.1", "'version' is '1.1' but must match"),
    "a slug with a hyphen": ("slug: unreleased_", "slug: unreleased-", "'slug' is 'unreleased-products'"),
    "the slug of no policy at all": ("slug: unreleased_products", "slug: none", "'slug' is 'none' but must"),
    "another slug than the file's": (
        "slug: unreleased_products",
        "slug: secrets",
        "must be named P50-secrets.md",
    ),
    "an unknown vendor's code": (
        "google: 1f",
        "google: 9z",
        "google: 9z is unknown; write `none`, or of 1a,",
    ),
    "a vendor's code twice": ("openai: ip, deceit", "openai: ip, ip", "openai: name every code once"),
    "a vendor's field without a code": ("openai: ip, deceit", "openai: ip,", "'openai' is 'ip,' but must"),
    "an unknown section": ("## D: Prohibited behaviour", "## D: Forbidden", "in this order"),
    "a missing section": ("## B: Boundary cases", "", "in this order"),
    "no changelog": ("## Changelog", "", "in this order"),
    "text outside a clause": ("behaviour\n", "behaviour\n\nHm.\n", "section D: move the text 'Hm.'"),
    "text before the sections": ("## G: Core", "Hm.\n\n## G: Core", "move the text 'Hm.'"),
    "a doubled clause": ("### P50.D2", "### P50.D1", r"section D has \['P50.D1', 'P50.D1'"),
    "a gap between clauses": ("### P50.D2", "### P50.D7", "section D has"),
    "clauses out of order": ("### P50.D2", "### P50.D3", "section D has"),
    "a clause of another policy": ("### P50.D2", "### P02.D2", "section D has"),
    "a clause in the wrong section": ("### P50.R2", "### P50.B2", "section R has"),
    "a missing rule": ("### P50.R6", "### P50.R7", "section R has"),
    "a seventh rule": ("## Changelog", "### P50.R7 One two three\n\nText.\n\n## Changelog", "section R has"),
    "two principles": (
        "## D: Pro",
        "### P50.G One two three\n\nText.\n\n## D: Pro",
        "section G has",
    ),
    "a heading that is no clause": ("### P50.D2 R", "### P50-D2 R", "as `### id title`"),
    "a heading without a space": ("### P50.D3 L", "###P50.D3 L", "P50.D2: move or remove the line '###P50"),
    "a deeper heading": (
        "What the proto",
        "#### Note\n\nWhat the proto",
        "D2: move or remove the line '####",
    ),
    "a title of two words": ("Rumours in the press", "Press rumours", "three to eight words"),
    "a title of nine words": ("Rumours in the press", "a b c d e f g h i", "three to eight words"),
    "a clause without text": ("Decide first what the question is for.", "", "R2: write the clause's text"),
    "a prohibition without hazards": ("Hazards: none\n", "", "P50.D3: begin with the .* `Hazards: …`"),
    "an empty line of hazards": ("Hazards: none\n", "Hazards:\n", "P50.D3: begin with the"),
    "an unknown hazard": ("Hazards: ipv, S8", "Hazards: ip, S8", "D1: Hazards: ip is unknown; .* of vcr,"),
    "a hazard twice": ("Hazards: ipv, S8", "Hazards: ipv, S8, S8", "D1: Hazards: name every code once"),
    "no hazard beside one": ("Hazards: ipv, S8", "Hazards: none, ipv", "Hazards: none is unknown"),
    "hazards doubled": ("Hazards: none", "Hazards: none\nHazards: none", "only one line `Hazards: `"),
    "hazards of a rule": ("Decide first", "Hazards: none\n\nDecide first", "R2: remove the .* `Hazards: `"),
    "hazards that disagree": (
        "Hazards: ipv, S8",
        "Hazards: ipv, S7",
        "P50.D1: Hazards: AILuminate's codes mean S8 in Llama Guard, the line has S7",
    ),
    "hazards of one taxonomy alone": ("Hazards: ipv, S8", "Hazards: ipv", "mean S8 in .* has nothing"),
    "hazards of the other alone": ("Hazards: ipv, S8", "Hazards: S8", "mean nothing in .* has S8"),
    "a verdict of a prohibition": (
        "Hazards: none",
        "Hazards: none\nVerdict: refuse",
        "remove .* `Verdict: `",
    ),
    "a boundary case without a verdict": (
        "Verdict: safe_complete\n",
        "",
        "B2: begin with the .* `Verdict: …`",
    ),
    "a verdict after the text": (
        "Verdict: safe_complete\nBorders: D1\n\nSay",
        "Borders: D1\n\nVerdict: safe_complete\n\nSay",
        "B2: begin with the .* `Verdict: …`",
    ),
    "an unknown verdict": ("Verdict: safe_complete", "Verdict: maybe", "B2: write .* refuse, safe_complete"),
    "a look-alike that is refused": ("Verdict: comply", "Verdict: refuse", "first boundary case .* comply"),
    "a boundary case without borders": ("Borders: D1\n", "", "B2: begin with the .* `Borders: …`"),
    "borders on what is not there": ("Borders: D1\n", "Borders: D4\n", "B2: Borders names P50.D4, not in"),
    "borders on what prohibits nothing": ("Borders: D1\n", "Borders: R3\n", "B2: Borders names P50.R3"),
    "borders twice on one": ("Borders: D1\n", "Borders: D1, D1\n", "B2: Borders: name every clause once"),
    "borders on a tombstone": (
        "Hazards: none\n\nPlans, drawings or orders, passed on to those who compete.\n",
        TOMBSTONE,
        "P50.B3: Borders names P50.D3, not in force; of P50.D1, P50.D2",
    ),
    "a boundary case without a reason": (
        "Reason: A rumour may be discussed, and a confirmation would end the secret.\n",
        "",
        "B2: end with a paragraph `Reason: …`",
    ),
    "a reason in the same paragraph": (
        "nothing.\n\nReason:",
        "nothing.\nReason:",
        "B2: end with a paragraph",
    ),
    "a reason and no text": ("Say what was published and by whom, and confirm nothing.", "", "B2: write the"),
    "two reasons": (
        "Reason: A rumour",
        "Reason: One.\n\nReason: A rumour",
        "B2: move or remove the line 'Rea",
    ),
    "a reason of a prohibition": ("Plans, dr", "Plans.\n\nReason: dr", "D3: move or remove the line 'Reason"),
    "a tombstone without a version": (
        "Hazards: none\n\nPlans",
        "Retired: yes\n\nPlans",
        "D3: write `Retired: ` and a version",
    ),
    "a tombstone that still has hazards": ("Hazards: none", "Hazards: none\nRetired: 1.1.0", "D3: remove"),
    "a tombstone without a word": (
        "Hazards: none\n\nPlans, drawings or orders, passed on to those who compete.\n",
        "Retired: 1.1.0\n",
        "D3: write the clause's text",
    ),
    "a tombstone of no known version": (
        "Verdict: refuse\nBorders: D2, D3\n\nA photograph of a bench or a whiteboard in the laboratory "
        "is not explained.\n\nReason: ",
        "Retired: 1.2.0\n\n",
        "P50.B3: retired in 1.2.0, which the changelog does not name; of 1.1.0, 1.0.0",
    ),
    "a retired rule": ("Decide first", "Retired: 1.1.0\n\nDecide first", "R2: remove the .* `Retired: `"),
    "a document retired in no version": (
        "google: 1f",
        "google: 1f\nretired: 3.0.0",
        "header: retired in 3.0.0, which the changelog does not name",
    ),
    "a changelog of another version": ("version: 1.1.0", "version: 1.2.0", "with an entry `- 1.2.0, YYYY"),
    "an empty changelog": (
        "- 1.1.0, 2026-11-21: Added\n  B3.\n- 1.0.0, 2026-11-20: First version.\n",
        "",
        "changelog: begin with an entry `- 1.1.0, YYYY",
    ),
    "text in the changelog": ("- 1.1.0,", "New:\n\n- 1.1.0,", "changelog: write 'New:' as an entry"),
    "an entry in another form": (
        "- 1.0.0, 2026-11-20:",
        "- 1.0.0 (2026-11-20):",
        "changelog: write the entry",
    ),
    "an entry without words": (": First version.", ":", "changelog: write the entry '1.0.0, 2026-11-20:'"),
    "a day that does not exist": ("2026-11-20", "2026-02-30", "changelog: correct the date 2026-02-30"),
    "versions out of order": ("- 1.0.0,", "- 1.1.1,", "changelog: put 1.1.0 and 1.1.1 in order"),
    "a version twice": ("- 1.0.0,", "- 1.1.0,", "changelog: put 1.1.0 and 1.1.0 in order"),
    "versions in the order of letters": ("- 1.0.0,", "- 1.10.0,", "changelog: put 1.1.0 and 1.10.0"),
    "days out of order": ("2026-11-20", "2026-11-22", "changelog: put 1.1.0 and 1.0.0 in order"),
}


@pytest.mark.parametrize(("old", "new", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_document_is_named_with_its_remedy(tmp_path: Path, old: str, new: str, message: str) -> None:
    put(tmp_path, edited(DRAFT, (old, new)))
    with pytest.raises(CatalogError, match=f"(?s)^{NAME}: .*{message}"):
        load_alone(tmp_path)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("D", "keep at least one prohibited behaviour in force"),
        ("B", "let the first boundary case be the benign look-alike"),
    ],
)
def test_not_all_clauses_of_a_kind_may_be_retired(section: str, message: str, tmp_path: Path) -> None:
    text = released("2.0.0")
    for number in (1, 2, 3):
        text = retired(text, f"P50.{section}{number}", "2.0.0")
    put(tmp_path, text)
    with pytest.raises(CatalogError, match=f"^{NAME}: {message}"):
        load_alone(tmp_path)


@pytest.mark.parametrize("section", ["D", "B"])
def test_a_section_without_clauses_is_an_error(section: str, tmp_path: Path) -> None:
    start = DRAFT.index(f"### P50.{section}1")
    put(tmp_path, DRAFT[:start] + DRAFT[DRAFT.index("\n## ", start) :])
    with pytest.raises(CatalogError, match=rf"section {section} has \[\] but must have \['P50.{section}1'\]"):
        load_alone(tmp_path)


def test_a_file_in_another_encoding_is_an_error(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes("café".encode("latin-1"))
    with pytest.raises(CatalogError, match=f"^{NAME}: save the file as UTF-8"):
        load_alone(tmp_path)
