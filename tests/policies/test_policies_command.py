"""`python -m policies`: what it prints, 1 where something differs, and 2 where something is wrong."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from policies.__main__ import main
from policies.bundle import BaseModelIdentity, Manifest, bundle_digest, write_manifest
from policies.catalog import load_catalog
from policies.taxonomies import TAXONOMIES
from tests.policies.drafts import DRAFT, PACKAGED, edited, put, released, retired

REPOSITORY = PACKAGED.parents[1]
Output = pytest.CaptureFixture[str]


def test_it_is_a_program() -> None:
    """As a shell runs it, without the test's imports."""
    done = subprocess.run(
        [sys.executable, "-m", "policies", "check"],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
    )
    assert (done.returncode, done.stderr) == (0, "")
    catalog = load_catalog()
    counts = f"{len(catalog.policies)} policies, {len(catalog.clause_ids)} clauses"
    assert done.stdout.splitlines()[0] == f"{counts}, digest {catalog.digest}"


def test_check_counts_a_teams_documents_too(tmp_path: Path, capsys: Output) -> None:
    assert main(["check", "--policies", str(put(tmp_path))]) == 0
    assert capsys.readouterr().out.startswith("21 policies, ")


def test_what_is_wrong_is_named_on_one_line(tmp_path: Path, capsys: Output) -> None:
    put(tmp_path, "Nothing here.", "P50-x.md")
    assert main(["check", "--policies", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "P50-x.md: begin the file with a header between two lines of ---\n"


@pytest.mark.parametrize("name", ["P50", "unreleased_products"])
def test_show_prints_a_policy_by_id_or_slug(name: str, tmp_path: Path, capsys: Output) -> None:
    assert main(["show", name, "--policies", str(put(tmp_path))]) == 0
    out = capsys.readouterr().out
    assert out.startswith("P50 Unreleased products\n\nWhat to protect:\nP50.G Keep what is unreleased conf")
    assert out.endswith("\n\n(version 1.1.0, unreleased_products)\n")


def test_show_prints_a_policy_as_an_outline(tmp_path: Path, capsys: Output) -> None:
    assert main(["show", "P50", "--form", "outline", "--policies", str(put(tmp_path))]) == 0
    assert "\nP50.B2 Rumours in the press (safe_complete)\n" in capsys.readouterr().out


CLAUSES = {
    "P50.D2": """\
P50.D2 Revealing the pictured prototype
What the prototype in a picture is, or how it works.
Hazards: ipv, ncr, S2, S8
""",
    "P50.B2": """\
P50.B2 Rumours in the press (safe_complete)
Say what was published and by whom, and confirm nothing.
Reason: A rumour may be discussed, and a confirmation would end the secret.
Hazards: ipv, S8
""",
    "P50.D3": """\
P50.D3 Leaking plans to a rival
Plans, drawings or orders, passed on to those who compete.
""",
    "P50.R3": """\
P50.R3 Refuse to reveal a secret (refuse)
Refuse where the answer would tell what is not announced.
Hazards: ipv, S8, ncr, S2
""",
}


@pytest.mark.parametrize(("name", "text"), CLAUSES.items(), ids=CLAUSES)
def test_show_prints_one_clause(name: str, text: str, tmp_path: Path, capsys: Output) -> None:
    assert main(["show", name, "--policies", str(put(tmp_path))]) == 0
    assert capsys.readouterr().out == text


def test_show_says_which_policies_there_are(capsys: Output) -> None:
    assert main(["show", "P99"]) == 2
    assert capsys.readouterr().err.startswith("P99 is neither a policy nor a clause; the policies are P01, ")


def test_show_says_what_became_of_a_retired_clause(tmp_path: Path, capsys: Output) -> None:
    put(tmp_path, retired(released("2.0.0"), "P50.B2", "2.0.0"))
    assert main(["show", "P50.B2", "--policies", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "P50.B2 was retired in 2.0.0: Nothing stands in its place.\n"


@pytest.mark.parametrize("name", ["P50", "unreleased_products", "P50.D1"])
def test_show_says_what_became_of_a_retired_document(name: str, tmp_path: Path, capsys: Output) -> None:
    put(tmp_path, released("2.0.0", ("google: 1f", "google: 1f\nretired: 2.0.0")))
    assert main(["show", name, "--policies", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"{name} was retired in 2.0.0: Changed.\n"


def test_find_prints_the_nearest_clause_first(tmp_path: Path, capsys: Output) -> None:
    assert main(["find", "a", "prototype", "and", "a rumour", "--policies", str(put(tmp_path))]) == 0
    first = capsys.readouterr().out.split("\n\n")[0]
    assert first == CLAUSES["P50.D2"].strip()


def test_find_says_when_nothing_is_found(capsys: Output) -> None:
    assert main(["find", "xyzzy"]) == 1
    assert capsys.readouterr().out.startswith("no clause has any of these words")


def test_diff_of_equal_states_is_silent_about_clauses(tmp_path: Path, capsys: Output) -> None:
    put(tmp_path / "new", released("1.1.1", ("google: 1f", "google: 1e")))
    assert main(["diff", str(put(tmp_path / "old")), str(tmp_path / "new")]) == 0
    assert capsys.readouterr().out == "no clause differs\n"


def test_diff_shows_what_each_clause_said_and_says(tmp_path: Path, capsys: Output) -> None:
    text = released("2.0.0", ("Name, date or", "Name or"), ("Verdict: safe_complete", "Verdict: comply"))
    text = edited(text, ("Products that are on sale", "Products on sale"), ("no secret", "known"))
    new = put(tmp_path / "new", retired(text, "P50.B3", "2.0.0"))
    assert main(["diff", str(put(tmp_path / "old")), str(new)]) == 1
    assert (
        capsys.readouterr().out
        == """\
~ P50.D1 reworded: Naming a product before its release
    - Name, date or price of a product that nobody has announced.
    + Name or price of a product that nobody has announced.
~ P50.B1 reworded: Products on sale
    - Products that are on sale
    + Products on sale
    - Reason: What everybody can buy is no secret.
    + Reason: What everybody can buy is known.
~ P50.B2 redecided: Rumours in the press
    - Verdict: safe_complete
    + Verdict: comply
- P50.B3 retired: Photographs from inside the laboratory
"""
    )


def test_diff_compares_a_team_with_what_is_packaged(tmp_path: Path, capsys: Output) -> None:
    (put(tmp_path) / "policies.toml").write_text('drop = ["P10"]', encoding="utf-8")
    assert main(["diff", "packaged", str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "+ P50.D1 added: Naming a product before its release" in lines
    assert {line.split(".")[0] for line in lines} == {"- P10", "+ P50"}


def bundle(directory: Path, policies: Mapping[str, str], policy_digest: str = "0" * 64) -> Path:
    """An adapter that was trained on these clauses, its weights being no weights."""
    directory.mkdir()
    (directory / "adapter_config.json").write_text("{}", encoding="utf-8")
    (directory / "adapter_model.safetensors").write_bytes(b"weights")
    manifest = Manifest(
        format_version=1,
        name="pst",
        digest=bundle_digest(directory),
        base=BaseModelIdentity(id="mini", architecture="Qwen2_5_VL", config_digest="0" * 64),
        policy_digest=policy_digest,
        policies=dict(policies),
        reasoning_format="think",
        recipe_digest="0" * 64,
        data_digest="0" * 64,
        seeds={},
        versions={},
    )
    write_manifest(directory, manifest)
    return directory


def test_diff_tells_what_an_adapter_was_trained_on(tmp_path: Path, capsys: Output) -> None:
    team = put(tmp_path / "team")
    catalog = load_catalog(team)
    trained = bundle(tmp_path / "bundle", catalog.fingerprints, catalog.digest)
    assert main(["diff", str(trained), str(team)]) == 0
    capsys.readouterr()
    put(team, edited(DRAFT, ("Name, date or", "Name or"), ("Verdict: safe_complete", "Verdict: comply")))
    assert main(["diff", str(trained), str(team)]) == 1
    assert capsys.readouterr().out == (
        "~ P50.D1 reworded: Naming a product before its release\n~ P50.B2 redecided: Rumours in the press\n"
    )


def test_diff_refuses_a_bundle_that_was_changed(tmp_path: Path, capsys: Output) -> None:
    trained = bundle(tmp_path / "bundle", {})
    (trained / "adapter_model.safetensors").write_bytes(b"other weights")
    assert main(["diff", str(trained), "packaged"]) == 2
    assert "was changed after it was written" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["show", "P01"], ["map", "google"], ["export"], ["publish"]])
def test_a_directory_that_is_not_there_is_named(command: list[str], tmp_path: Path, capsys: Output) -> None:
    missing = str(tmp_path / "missing")
    assert main([*command, "--policies", missing]) == 2
    assert main(["diff", "packaged", missing]) == 2
    assert capsys.readouterr().err.count(f"{missing} is not a directory") == 2


@pytest.mark.parametrize("name", TAXONOMIES)
def test_map_lists_every_entry_with_what_covers_it(name: str, capsys: Output) -> None:
    assert main(["map", name]) == 0
    heading, *entries = capsys.readouterr().out.rstrip("\n").split("\n\n")
    taxonomy = TAXONOMIES[name]
    assert heading == f"{taxonomy.title}, {taxonomy.edition}"
    assert [entry.splitlines()[0] for entry in entries] == [
        f"{code}  {title}" for code, title in taxonomy.entries.items()
    ]
    known = {*load_catalog().clause_ids, *(policy.id for policy in load_catalog().policies)}
    covering = [entry.splitlines()[1].strip().split(", ") for entry in entries]
    assert all(set(ids) <= known for ids in covering)


def test_map_says_where_nothing_covers_an_entry(tmp_path: Path, capsys: Output) -> None:
    (put(tmp_path) / "policies.toml").write_text("extends = false", encoding="utf-8")
    assert main(["map", "llama_guard", "--policies", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "\nS2  Non-violent crimes\n    P50.D2\n" in out
    assert "\nS8  Intellectual property\n    P50.D1, P50.D2\n" in out
    assert "\nS10  Hate\n    (nothing)\n" in out


def test_export_prints_json(tmp_path: Path, capsys: Output) -> None:
    assert main(["export", "--policies", str(put(tmp_path))]) == 0
    assert json.loads(capsys.readouterr().out)["policies"][-1]["id"] == "P50"


@pytest.mark.parametrize(
    "arguments",
    [[], ["chek"], ["map", "eu"], ["show"], ["show", "P01", "--form", "long"], ["diff", "packaged"]],
    ids=" ".join,
)
def test_a_command_that_does_not_exist_is_refused_with_its_usage(
    arguments: list[str], capsys: Output
) -> None:
    with pytest.raises(SystemExit, match=re.compile("^2$")):
        main(arguments)
    assert capsys.readouterr().err.startswith("usage: python -m policies")


def test_diff_sees_a_title_that_belongs_to_no_clause(tmp_path: Path, capsys: Output) -> None:
    team = put(tmp_path / "team", edited(DRAFT, ("title: Unreleased products", "title: Secret products")))
    assert main(["diff", str(put(tmp_path / "other")), str(team)]) == 1
    assert "no clause differs, but a policy's slug or title does" in capsys.readouterr().out
