"""The export: everything that the documents say, as JSON that keeps to its own schema."""

import json
from pathlib import Path
from typing import Any

import pytest

from policies.__main__ import main
from policies.catalog import load_catalog
from policies.export import ExportedCatalog
from policies.taxonomies import TAXONOMIES
from tests.policies.drafts import DRAFT, as_policy, edited, put, released, retired

Output = pytest.CaptureFixture[str]


def exported(capsys: Output, *arguments: str) -> str:
    assert main(["export", *arguments]) == 0
    return capsys.readouterr().out


@pytest.fixture
def alone(tmp_path: Path) -> Path:
    """P50 with a tombstone and P51, a tombstone itself; no packaged document."""
    put(tmp_path, retired(released("2.0.0"), "P50.B2", "2.0.0"))
    text, name = as_policy("P51", "secrets")
    put(tmp_path, edited(text, ("google: 1f", "google: 1f\nretired: 1.1.0")), name)
    (tmp_path / "policies.toml").write_text("extends = false", encoding="utf-8")
    return tmp_path


def test_it_keeps_to_its_schema_and_loses_nothing_on_the_way(capsys: Output) -> None:
    text = exported(capsys)
    assert f"{ExportedCatalog.model_validate_json(text).model_dump_json(indent=1)}\n" == text


def test_it_holds_every_clause_in_order(capsys: Output) -> None:
    catalog = load_catalog()
    content = ExportedCatalog.model_validate_json(exported(capsys))
    clauses = [clause for policy in content.policies for clause in policy.clauses]
    assert content.digest == catalog.digest
    assert tuple(clause.id for clause in clauses) == catalog.clause_ids
    assert {clause.id: clause.fingerprint for clause in clauses} == dict(catalog.fingerprints)
    assert {clause.id: clause.demands for clause in clauses} == dict(catalog.citable)


def test_it_says_all_that_a_document_says(alone: Path, capsys: Output) -> None:
    content: Any = json.loads(exported(capsys, "--policies", str(alone)))
    (policy,) = content["policies"]
    clauses = {clause.pop("id"): clause for clause in policy.pop("clauses")}
    assert content["format"] == 1
    assert policy == {
        "id": "P50",
        "slug": "unreleased_products",
        "title": "Unreleased products",
        "version": "2.0.0",
        "references": {"openai": ["ip", "deceit"], "google": ["1f"], "anthropic": []},
        "retired": [
            {
                "id": "P50.B2",
                "title": "Rumours in the press",
                "retired_in": "2.0.0",
                "text": "Nothing stands in its place.",
            }
        ],
        "changelog": [
            {"version": "2.0.0", "date": "2026-12-01", "text": "Changed."},
            {"version": "1.1.0", "date": "2026-11-21", "text": "Added B3."},
            {"version": "1.0.0", "date": "2026-11-20", "text": "First version."},
        ],
    }
    boundary = clauses["P50.B3"]
    assert boundary.pop("fingerprint").startswith("refuse:")
    assert boundary == {
        "kind": "boundary",
        "title": "Photographs from inside the laboratory",
        "text": "A photograph of a bench or a whiteboard in the laboratory is not explained.",
        "demands": "refuse",
        "reason": "Whoever holds it may have it without leave.",
        "borders": ["P50.D2", "P50.D3"],
        "hazards": {"ailuminate": ["ipv", "ncr"], "llama_guard": ["S2", "S8"]},
    }
    kinds = {id_.partition(".")[2][0]: clause["kind"] for id_, clause in clauses.items()}
    assert kinds == {"G": "principle", "D": "prohibited", "B": "boundary", "R": "rule"}


def test_a_retired_document_is_a_tombstone(alone: Path, capsys: Output) -> None:
    content: Any = json.loads(exported(capsys, "--policies", str(alone)))
    assert content["retired_policies"] == [
        {"id": "P51", "title": "Unreleased products", "retired_in": "1.1.0", "text": "Added B3."}
    ]


def test_every_code_is_in_the_taxonomy_it_stands_under(capsys: Output) -> None:
    content: Any = json.loads(exported(capsys))
    found = [
        (taxonomy, code)
        for policy in content["policies"]
        for mapping in (policy["references"], *(clause["hazards"] for clause in policy["clauses"]))
        for taxonomy, codes in mapping.items()
        for code in codes
    ]
    assert len(found) > len(content["policies"])
    assert [(name, code) for name, code in found if code not in TAXONOMIES[name].entries] == []


def test_the_schema_is_json_and_names_every_field(capsys: Output) -> None:
    schema: Any = json.loads(exported(capsys, "--schema"))
    content: Any = json.loads(exported(capsys))
    clause = content["policies"][0]["clauses"][0]
    assert set(schema["required"]) == schema["properties"].keys() == content.keys()
    assert set(schema["$defs"]["ExportedClause"]["required"]) == clause.keys()
    assert schema["$defs"]["Verdict"]["enum"] == ["refuse", "safe_complete", "comply"]


def test_an_unknown_field_is_no_export() -> None:
    with pytest.raises(ValueError, match="extra"):
        ExportedCatalog.model_validate_json(
            '{"digest": "", "policies": [], "retired_policies": [], "extra": 1}'
        )


def test_the_documents_are_exported_as_a_team_has_them(tmp_path: Path, capsys: Output) -> None:
    before = json.loads(exported(capsys, "--policies", str(put(tmp_path))))
    put(tmp_path, edited(DRAFT, ("Name, date or", "Name or")))
    after = json.loads(exported(capsys, "--policies", str(tmp_path)))
    assert before["digest"] != after["digest"]
    assert before["policies"][:-1] == after["policies"][:-1]
