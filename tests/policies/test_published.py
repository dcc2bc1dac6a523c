"""The register of what was published: ids are for ever, and every change needs the version it asks for."""

import json
from pathlib import Path

import pytest

from policies.__main__ import main
from tests.policies.drafts import DRAFT, NAME, as_policy, edit, edited, put, released, retired

Output = pytest.CaptureFixture[str]


@pytest.fixture
def team(tmp_path: Path) -> Path:
    """A team's directory with one published document."""
    put(tmp_path)
    assert run("publish", tmp_path) == 0
    return tmp_path


def run(command: str, directory: Path) -> int:
    return main([command, "--policies", str(directory)])


def complaints(directory: Path, output: Output) -> list[str]:
    """What `check` says is wrong; `publish` must refuse to make that the new state."""
    register = directory / "published.json"
    before = register.read_bytes()
    output.readouterr()
    assert run("check", directory) == 2
    found = output.readouterr().err.splitlines()
    if not found[0].startswith("not published yet"):
        assert run("publish", directory) == 2
        assert output.readouterr().err.splitlines() == found
        assert register.read_bytes() == before
    return found


D4 = "### P50.D4 Selling what is not announced\n\nHazards: ncr, S2\n\nOffers of it.\n\n## B: Boundary"
REWORD = ("Name, date or", "Name or")
REDECIDE = ("Verdict: safe_complete", "Verdict: comply")
ADD = ("## B: Boundary", D4)
MAP = ("google: 1f", "google: 1e")
RETITLE = ("title: Unreleased products", "title: Unreleased goods")
REBORDER = ("Borders: D2, D3", "Borders: D2")
ALLOWED = {
    "words, a patch": released("1.1.1", REWORD),
    "words, a minor": released("1.2.0", REWORD),
    "words, a major": released("2.0.0", REWORD),
    "mapping, a patch": released("1.1.1", MAP),
    "the document's title, a patch": released("1.1.1", RETITLE),
    "borders, a patch": released("1.1.1", REBORDER),
    "an addition, a minor": released("1.2.0", ADD),
    "an addition with words, a minor": released("1.2.0", ADD, REWORD),
    "a verdict, a major": released("2.0.0", REDECIDE),
    "a verdict with an addition, a major": released("2.0.0", REDECIDE, ADD),
    "a tombstone, a major": retired(released("2.0.0"), "P50.B2", "2.0.0"),
    "the document's own tombstone": released("2.0.0", ("google: 1f", "google: 1f\nretired: 2.0.0")),
    "a version without a change": released("1.1.1"),
    "a version leapt": released("4.7.1", REWORD),
    "nothing but the history": edited(DRAFT, ("First version.", "The first.")),
}


@pytest.mark.parametrize("text", ALLOWED.values(), ids=ALLOWED)
def test_a_change_with_its_version_can_be_published(team: Path, text: str, capsys: Output) -> None:
    put(put(team, text), *as_policy("P51", "secrets"))
    (reminder,) = complaints(team, capsys)
    assert reminder.startswith("not published yet: ")
    assert "P51 1.1.0" in reminder
    assert run("publish", team) == 0
    assert run("check", team) == 0


SAME_VERSION = (
    f"{NAME}: it differs from what was published as 1.1.0; raise its version and say in its changelog"
)
FORBIDDEN: dict[str, tuple[str, list[str]]] = {
    "words without a version": (edited(DRAFT, REWORD), [SAME_VERSION]),
    "a verdict without a version": (edited(DRAFT, REDECIDE), [SAME_VERSION]),
    "an addition without a version": (edited(DRAFT, ADD), [SAME_VERSION]),
    "mapping without a version": (edited(DRAFT, MAP), [SAME_VERSION]),
    "hazards without a version": (edited(DRAFT, ("Hazards: ipv, S8", "Hazards: none")), [SAME_VERSION]),
    "borders without a version": (edited(DRAFT, REBORDER), [SAME_VERSION]),
    "a title without a version": (edited(DRAFT, RETITLE), [SAME_VERSION]),
    "an addition as a patch": (released("1.1.1", ADD), [f"{NAME}: P50.D4 added asks for version 1.2.0"]),
    "a verdict as a patch": (
        released("1.1.1", REDECIDE),
        ["P50.B2 redecided asks for version 2.0.0 at least"],
    ),
    "a verdict as a minor": (
        released("1.9.0", REDECIDE),
        ["P50.B2 redecided asks for version 2.0.0 at least"],
    ),
    "a verdict beside an addition": (
        released("1.2.0", REDECIDE, ADD),
        [f"{NAME}: P50.B2 redecided asks for version 2.0.0 at least"],
    ),
    "a tombstone as a minor": (
        retired(released("1.2.0"), "P50.B2", "1.2.0"),
        [f"{NAME}: P50.B2 retired asks for version 2.0.0 at least"],
    ),
    "a lower version": (
        edited(DRAFT, ("version: 1.1.0", "version: 1.0.0"), ("- 1.1.0, 2026-11-21: Added\n  B3.\n", "")),
        [f"{NAME}: a change asks for version 1.1.1 at least"],
    ),
    "the last clause gone": (
        edited(released("2.0.0"), (DRAFT[DRAFT.index("### P50.B3") : DRAFT.index("## R: Rules")], "")),
        ["P50.B3: its id must not vanish; put it back, and retire it with a line `Retired: version`"],
    ),
    "a document retired as a minor": (
        released("1.2.0", ("google: 1f", "google: 1f\nretired: 1.2.0")),
        ["retired asks for version 2.0.0 at least"],
    ),
}


@pytest.mark.parametrize(("text", "expected"), FORBIDDEN.values(), ids=FORBIDDEN)
def test_a_change_without_its_version_is_refused(
    team: Path, text: str, expected: list[str], capsys: Output
) -> None:
    put(team, text)
    found = complaints(team, capsys)
    assert len(found) == len(expected)
    assert all(part in line for part, line in zip(expected, found, strict=True))


def test_a_retired_id_is_never_used_again(team: Path, capsys: Output) -> None:
    put(team, retired(released("2.0.0"), "P50.B2", "2.0.0"))
    assert run("publish", team) == 0
    put(team, released("3.0.0", ("Rumours in the press", "Something else entirely here")))
    assert complaints(team, capsys) == [
        "P50.B2: a retired id is never used again; give the clause the next free one"
    ]


def test_a_retired_document_never_comes_back(team: Path, capsys: Output) -> None:
    put(put(team, released("2.0.0", ("google: 1f", "google: 1f\nretired: 2.0.0"))), *as_policy("P51", "x"))
    assert run("publish", team) == 0
    put(team, released("3.0.0"))
    assert all(line.endswith("give the clause the next free one") for line in complaints(team, capsys))


def test_a_tombstone_stays(team: Path, capsys: Output) -> None:
    put(team, retired(released("2.0.0"), "P50.B3", "2.0.0"))
    assert run("publish", team) == 0
    buried = (team / NAME).read_text(encoding="utf-8")
    start = buried.index("### P50.B3")
    put(team, buried[:start] + buried[buried.index("\n## ", start) + 1 :])
    assert complaints(team, capsys)[0] == "P50.B3: its tombstone must not vanish; put it back"


@pytest.mark.parametrize("change", [("Nothing stands", "D1 stands"), ("Retired: 2.0.0", "Retired: 1.1.0")])
def test_a_tombstone_is_not_rewritten_without_a_version(
    team: Path, change: tuple[str, str], capsys: Output
) -> None:
    put(team, retired(released("2.0.0"), "P50.B3", "2.0.0"))
    assert run("publish", team) == 0
    edit(team / NAME, change)
    (found,) = complaints(team, capsys)
    assert "it differs from what was published as 2.0.0" in found


def test_a_document_must_not_vanish(team: Path, capsys: Output) -> None:
    put(team, *as_policy("P51", "secrets"))
    (team / NAME).unlink()
    assert complaints(team, capsys) == [
        "P50: its document must not vanish; put it back, and retire it with a header line `retired: version`"
    ]


def test_a_team_may_stop_overriding_a_packaged_policy(team: Path) -> None:
    put(team, *as_policy("P07", "money"))
    assert run("publish", team) == 0
    (team / "P07-money.md").unlink()
    assert run("publish", team) == 0
    assert list(json.loads((team / "published.json").read_bytes())["policies"]) == ["P07", "P50"]


def test_an_override_that_comes_back_is_still_held_to_what_was_published(team: Path, capsys: Output) -> None:
    text, name = as_policy("P07", "money")
    put(team, text, name)
    assert run("publish", team) == 0
    (team / "P07-money.md").unlink()
    assert run("publish", team) == 0
    capsys.readouterr()
    put(team, text.replace("Name, date or price", "Name, date, weight or price"), name)
    assert "differs from what was published" in complaints(team, capsys)[0]


def test_check_says_how_to_publish(team: Path, capsys: Output) -> None:
    put(team, released("1.1.1", REWORD))
    remedy = f"run: python -m policies publish --policies {team}"
    assert complaints(team, capsys) == [f"not published yet: P50 1.1.1; when they are final, {remedy}"]


def test_a_team_that_only_drops_has_nothing_to_publish(tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "policies.toml").write_text("drop = ['P10']", encoding="utf-8")
    assert run("check", tmp_path) == 0
    assert capsys.readouterr().out.startswith("19 policies, ")
    assert run("publish", tmp_path) == 0
    assert run("check", tmp_path) == 0


def test_publishing_twice_changes_nothing(team: Path, capsys: Output) -> None:
    before = (team / "published.json").read_bytes()
    capsys.readouterr()
    assert run("publish", team) == 0
    assert capsys.readouterr().out == "published: nothing new\n"
    assert (team / "published.json").read_bytes() == before


def test_publish_says_what_is_new(team: Path, capsys: Output) -> None:
    put(put(team, released("1.1.1", REWORD)), *as_policy("P51", "secrets"))
    capsys.readouterr()
    assert run("publish", team) == 0
    assert capsys.readouterr().out == "published: P50 1.1.1, P51 1.1.0\n"


def test_a_team_answers_for_its_own_documents_only(team: Path) -> None:
    assert list(json.loads((team / "published.json").read_bytes())["policies"]) == ["P50"]


def test_a_team_without_a_register_is_told_how_to_begin_one(tmp_path: Path, capsys: Output) -> None:
    assert run("check", put(tmp_path)) == 0
    assert capsys.readouterr().out.endswith(
        f"no id is held yet; when they are final, run: python -m policies publish --policies {tmp_path}\n"
    )


@pytest.mark.parametrize("text", ["", "{}", '{"policies": {"P50": {}}}', "not JSON"])
def test_a_broken_register_is_an_error(team: Path, text: str, capsys: Output) -> None:
    (team / "published.json").write_text(text, encoding="utf-8")
    assert run("check", team) == 2
    assert f"{team / 'published.json'}: restore it from version control" in capsys.readouterr().err


def test_a_broken_document_is_not_published(team: Path) -> None:
    before = (team / "published.json").read_bytes()
    edit(team / NAME, ("Verdict: comply", "Verdict: maybe"))
    assert run("publish", team) == 2
    assert (team / "published.json").read_bytes() == before
