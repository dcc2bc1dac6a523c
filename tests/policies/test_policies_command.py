"""`python -m policies`: what it prints, and 2 where the documents or the id are at fault."""

from pathlib import Path

import pytest

from policies.__main__ import main
from policies.catalog import load_catalog


def test_check_counts_and_fingerprints(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 0
    catalog = load_catalog()
    counts = f"{len(catalog.policies)} policies, {len(catalog.clause_ids)} clauses"
    assert capsys.readouterr().out == f"{counts}, digest {catalog.digest}\n"


def test_check_names_what_is_wrong_on_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "P01-x.md").write_text("Nothing here.", encoding="utf-8")
    assert main(["check", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "P01-x.md: begin the file with a header between two lines of ---\n"


@pytest.mark.parametrize("name", ["P07", "financial_and_academic_fraud"])
def test_show_prints_a_policy_by_id_or_slug(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", name]) == 0
    out = capsys.readouterr().out
    assert out.startswith("P07 Financial and academic fraud\nP07.G Keep money and merit honest: ")
    assert out.endswith("(version 1.0.0, financial_and_academic_fraud)\n")


def test_show_prints_one_clause(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "P07.D3"]) == 0
    assert capsys.readouterr().out.startswith("P07.D3 Cheating in exams or assignments: ")


def test_show_says_which_policies_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "P99"]) == 2
    assert capsys.readouterr().err.startswith("P99 is neither a policy nor a clause; the policies are P01, ")
