"""Claims about bundles that were trained on other policies than those served."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from policies.bundle import BaseModelIdentity, model_config_digest
from policies.catalog import Catalog, load_catalog
from serve.__main__ import main
from serve.adapters.refused import AdapterRefused
from serve.adapters.registry import Registry, build_registry
from serve.settings import Settings
from tests.fakes.scripted_engine import Scripted
from tests.serve.conftest import Start
from tests.serve.gateways import ask, write_bundle

PACKAGED = Path(__file__).parents[2] / "policies" / "documents"
ANIMALS = "P01-animal-abuse.md"


TRAINED = load_catalog().digest


def word_on(served: str, changed_meaning: list[str], trained: str = TRAINED[:12]) -> dict[str, Any]:
    """What an operator states."""
    return {"trained_digest": trained, "served_digest": served, "changed_meaning": changed_meaning}


@pytest.fixture
def team(tmp_path: Path) -> Path:
    """The packaged policies but for P01, of which D1 and B3 read otherwise and D6 is retired."""
    directory = tmp_path / "policies"
    directory.mkdir()
    text = (PACKAGED / ANIMALS).read_text(encoding="utf-8")
    text = text.replace("or killing an animal outside", "or selling an animal outside")
    text = text.replace("Borders: D1, D2, D6", "Borders: D1, D2")
    text = text.replace("Verdict: safe_complete\nBorders: D1, D2", "Verdict: refuse\nBorders: D1, D2")
    text = re.sub(r"(### P01.D6 [^\n]*\n\n)Hazards: [^\n]*", r"\1Retired: 1.1.0", text)
    (directory / ANIMALS).write_text(text, encoding="utf-8")
    return directory


@pytest.fixture
def catalog(team: Path) -> Catalog:
    return load_catalog(team)


def build(bundle: Path, team: Path, **adapter: Any) -> Registry:
    base = bundle.parent / "base"
    values: Any = {
        "engine": {"embedded": {"model": str(base)}},
        "adapters": [{"bundle": bundle, **adapter}],
        "policies": team,
    }
    settings = Settings(**values)
    return build_registry(settings, load_catalog(settings.policies))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Trained on the packaged policies."""
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text(json.dumps({"model_type": "mini"}))
    identity = BaseModelIdentity(id="mini", architecture="x", config_digest=model_config_digest(base))
    write_bundle(tmp_path / "pst", base=identity)
    return tmp_path / "pst"


def test_a_bundle_trained_on_other_policies_is_refused_with_every_clause_that_differs(
    bundle: Path, team: Path, catalog: Catalog
) -> None:
    with pytest.raises(AdapterRefused) as refused:
        build(bundle, team)
    message = str(refused.value)
    assert f"({load_catalog().digest[:12]}) than these ({catalog.digest[:12]})" in message
    assert re.findall(r"^  (P\S+): (.*)$", message, re.MULTILINE) == [
        ("P01.D1", "other words"),
        ("P01.D6", "retired, cannot be cited"),
        ("P01.B3", "another verdict, so it means something else"),
    ]
    digests = f'trained_digest = "{TRAINED[:12]}", served_digest = "{catalog.digest[:12]}"'
    assert f"policy_change = {{ {digests}, changed_meaning" in message


def test_the_operator_says_which_clauses_mean_something_else(
    bundle: Path, team: Path, catalog: Catalog
) -> None:
    word = word_on(catalog.digest[:12], ["P01.D1"])
    clauses = build(bundle, team, policy_change=word).resolve("groundrule").version.clauses
    # Said by the operator; seen by the verdict; retired.
    assert catalog.citable.keys() - clauses.keys() == {"P01.D1", "P01.B3"}
    assert "P01.D6" not in clauses


def test_clauses_that_are_only_reworded_stay_citable(bundle: Path, team: Path, catalog: Catalog) -> None:
    word = word_on(catalog.digest, [])
    assert "P01.D1" in build(bundle, team, policy_change=word).resolve("groundrule").version.clauses


def test_the_word_holds_for_the_policies_it_names_and_no_others(
    bundle: Path, team: Path, catalog: Catalog
) -> None:
    word = word_on(catalog.digest[:12], ["P01.D1"])
    path = team / ANIMALS
    path.write_text(
        path.read_text(encoding="utf-8").replace("cannot speak", "can not speak"), encoding="utf-8"
    )
    with pytest.raises(
        AdapterRefused, match=f"speaks of {TRAINED[:12]} and {catalog.digest[:12]}, not of these"
    ):
        build(bundle, team, policy_change=word)


def test_the_word_holds_for_bundles_trained_on_what_it_names_and_no_others(
    bundle: Path, team: Path, catalog: Catalog
) -> None:
    word = word_on(catalog.digest[:12], ["P01.D1"], trained="0" * 12)
    with pytest.raises(AdapterRefused, match=f"speaks of {'0' * 12} and {catalog.digest[:12]}, not of these"):
        build(bundle, team, policy_change=word)


@pytest.mark.parametrize("clause", ["P01.D2", "P01.D6", "P99.D1"])
def test_a_word_on_a_clause_that_reads_the_same_is_a_mistake(
    bundle: Path, team: Path, catalog: Catalog, clause: str
) -> None:
    word = word_on(catalog.digest[:12], [clause])
    with pytest.raises(
        AdapterRefused, match=rf"names {clause}, but only these have other words: P01.B3, P01.D1"
    ):
        build(bundle, team, policy_change=word)


def test_a_word_where_nothing_differs_is_a_mistake(bundle: Path, tmp_path: Path) -> None:
    same = tmp_path / "same"
    same.mkdir()
    (same / ANIMALS).write_bytes((PACKAGED / ANIMALS).read_bytes())
    word = word_on(load_catalog().digest[:12], [])
    with pytest.raises(AdapterRefused, match="remove its policy_change"):
        build(bundle, same, policy_change=word)


def test_citations_of_changed_clauses_are_returned_as_invalid_and_flagged(
    start: Start, bundle: Path, team: Path, catalog: Catalog
) -> None:
    reply = (
        "<think>\n[visual] A dog. [P01.D1]\n[textual] It would suffer. [P01.D2]\n"
        "Verdict: refuse [P01.R3]\n</think>\nNo."
    )
    word = word_on(catalog.digest[:12], ["P01.D1"])
    with start(adapters=[{"bundle": bundle, "policy_change": word}], policies=team) as gateway:
        gateway.engine.enqueue(Scripted(reply))
        safety = gateway.post(ask()).json()["choices"][0]["message"]["safety"]
    assert safety["policy_digest"] == catalog.digest
    assert safety["flags"] == ["invalid_clause"]
    cited = {one["clause"]: (one["valid"], one["title"] is not None) for one in safety["citations"]}
    assert cited == {"P01.D1": (False, False), "P01.D2": (True, True), "P01.R3": (True, True)}


@pytest.mark.parametrize(
    ("policies", "says"),
    [
        ("missing", "missing is not a directory: give the one that holds your policy documents"),
        ("broken", "P01-animals.md: begin the file with a header between two lines of ---"),
        ("other", "was trained on other policies"),
        ("folder", "P50-folder.md cannot be read"),
    ],
)
def test_a_gateway_does_not_start_on_policies_that_cannot_be_served(
    tmp_path: Path, bundle: Path, team: Path, policies: str, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "P01-animals.md").write_text("No header.", encoding="utf-8")
    (tmp_path / "folder" / "P50-folder.md").mkdir(parents=True)
    team.rename(tmp_path / "other")
    config = tmp_path / "gateway.toml"
    config.write_text(
        f'port = 0\npolicies = "{tmp_path / policies}"\n[engine.embedded]\nmodel = "{tmp_path / "base"}"\n'
        f'[[adapters]]\nbundle = "{bundle}"\n',
        encoding="utf-8",
    )
    assert main(["--config", str(config)]) == 2
    assert says in capfd.readouterr().err


def test_clauses_that_the_model_never_learned_cannot_be_cited(bundle: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    text = (PACKAGED / ANIMALS).read_text(encoding="utf-8")
    text = text.replace("P01", "P50").replace("animal_abuse", "plant_abuse")
    (own / "P50-plant-abuse.md").write_text(text, encoding="utf-8")
    with pytest.raises(
        AdapterRefused, match=r"P50\.D1: new, the model does not know it, so it cannot be cited"
    ):
        build(bundle, own)
    clauses = (
        build(bundle, own, policy_change=word_on(load_catalog(own).digest, []))
        .resolve("groundrule")
        .version.clauses
    )
    assert clauses.keys() == load_catalog().citable.keys()
