"""A team's own directory: it adds documents, overrides some and drops others."""

from pathlib import Path

import pytest

from policies.catalog import CatalogError, load_catalog
from tests.policies.drafts import DRAFT, NAME, PACKAGED, as_policy, put

EVERY = [path.name[:3] for path in sorted(PACKAGED.glob("*.md"))]


def settings(directory: Path, text: str) -> Path:
    directory.mkdir(exist_ok=True)
    (directory / "policies.toml").write_text(text, encoding="utf-8")
    return directory


def ids(directory: Path) -> list[str]:
    return [policy.id for policy in load_catalog(directory).policies]


def test_a_team_adds_a_policy(tmp_path: Path) -> None:
    catalog = load_catalog(put(tmp_path))
    assert [policy.id for policy in catalog.policies] == [*EVERY, "P50"]
    assert catalog.clause("P50.D1")
    assert catalog.clause("P01.D1") == load_catalog().clause("P01.D1")


def test_a_team_overrides_a_policy_whatever_its_slug(tmp_path: Path) -> None:
    put(tmp_path, *as_policy("P07", "house_rules_on_money"))
    catalog = load_catalog(tmp_path)
    assert [policy.id for policy in catalog.policies] == EVERY
    assert catalog.policies[6].slug == "house_rules_on_money"
    assert catalog.clause("P07.D4") is None
    assert catalog.policy("financial_and_academic_fraud") is None


def test_a_team_drops_policies(tmp_path: Path) -> None:
    settings(tmp_path, 'drop = ["P10", "P16"]')
    assert ids(tmp_path) == [id_ for id_ in EVERY if id_ not in ("P10", "P16")]
    assert load_catalog(tmp_path).clause("P10.D1") is None


def test_a_team_adds_overrides_and_drops_at_once(tmp_path: Path) -> None:
    put(put(settings(tmp_path, 'extends = true\ndrop = ["P01"]')), *as_policy("P02", "dares"))
    catalog = load_catalog(tmp_path)
    assert [policy.id for policy in catalog.policies] == [*EVERY[1:], "P50"]
    assert catalog.policies[0].slug == "dares"


@pytest.mark.parametrize("id_", ["P01", "P50"])
def test_a_team_that_extends_nothing_has_its_own_documents_alone(tmp_path: Path, id_: str) -> None:
    put(settings(tmp_path, "extends = false"), *as_policy(id_, "secrets"))
    assert ids(tmp_path) == [id_]


def test_a_team_takes_a_policy_out_of_force_with_its_tombstone(tmp_path: Path) -> None:
    put(tmp_path, DRAFT.replace("google: 1f", "google: 1f\nretired: 1.1.0"))
    assert ids(tmp_path) == EVERY
    assert "P50.D1" in load_catalog(tmp_path).retired_ids


def test_the_packaged_documents_are_a_directory_that_stands_alone(tmp_path: Path) -> None:
    for source in PACKAGED.iterdir():
        if not source.name.startswith("P20"):
            (tmp_path / source.name).write_bytes(source.read_bytes())
    assert ids(tmp_path) == EVERY[:-1]


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    put(tmp_path)
    (tmp_path / "notes.txt").write_text("no policy", encoding="utf-8")
    (tmp_path / "README.md").write_text("# Our policies", encoding="utf-8")
    (tmp_path / "drafts").mkdir()
    assert ids(tmp_path)[-1] == "P50"


def test_a_directory_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="missing is not a directory: give the one that holds"):
        load_catalog(tmp_path / "missing")


def test_a_directory_without_documents_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"holds no policy documents: add one such as P50-….md"):
        load_catalog(tmp_path)


EVERYTHING = "drop = [" + ", ".join(f'"{id_}"' for id_ in EVERY) + "]"
WRONG: dict[str, tuple[str, str]] = {
    "an unknown key": ("drops = ['P01']", r"policies.toml: it may say `extends = true`(?s:.*)drops"),
    "a policy in place of a list": ("drop = 'P01'", r"policies.toml: it may say"),
    "a word in place of true": ("extends = 'yes'", r"policies.toml: it may say"),
    "no TOML": ("extends: true", r"policies.toml: it may say"),
    "a drop of nothing known": ("drop = ['P42']", "policies.toml: drop names 'P42', which is no packaged"),
    "a drop by slug": ("drop = ['animal_abuse']", "drop names 'animal_abuse', which is no packaged"),
    "a drop of one's own": ("drop = ['P50']", "drop names 'P50', which is no packaged policy's id"),
    "a drop without what it drops from": ("extends = false\ndrop = ['P01']", "nothing can be dropped where"),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_wrong_settings_are_named_with_their_remedy(tmp_path: Path, text: str, message: str) -> None:
    settings(put(tmp_path), text)
    with pytest.raises(CatalogError, match=message):
        load_catalog(tmp_path)


@pytest.mark.parametrize("text", [EVERYTHING, "extends = false"])
def test_nothing_left_is_an_error(tmp_path: Path, text: str) -> None:
    put(settings(tmp_path, text), DRAFT.replace("google: 1f", "google: 1f\nretired: 1.1.0"))
    with pytest.raises(CatalogError, match="no policy is left: add a document"):
        load_catalog(tmp_path)


def test_dropping_and_overriding_at_once_is_an_error(tmp_path: Path) -> None:
    put(settings(tmp_path, "drop = ['P07']"), *as_policy("P07", "money"))
    with pytest.raises(CatalogError, match="P07 is dropped and overridden; do one of the two"):
        load_catalog(tmp_path)


@pytest.mark.parametrize("id_", ["P00", "P21", "P49"])
def test_ids_of_the_framework_are_kept_for_it(tmp_path: Path, id_: str) -> None:
    put(tmp_path, *as_policy(id_, "secrets"))
    with pytest.raises(CatalogError, match=rf"^{id_}-secrets.md: the ids up to P49 .* from P50 to P99"):
        load_catalog(tmp_path)


def test_two_policies_of_one_id_are_an_error(tmp_path: Path) -> None:
    put(put(tmp_path), *as_policy("P50", "secrets"))
    with pytest.raises(CatalogError, match=f"^{NAME}: P50-secrets.md has P50 already; choose another"):
        load_catalog(tmp_path)


@pytest.mark.parametrize("slug", ["unreleased_products", "animal_abuse"])
def test_two_policies_of_one_slug_are_an_error(tmp_path: Path, slug: str) -> None:
    put(put(tmp_path), *as_policy("P51", slug))
    with pytest.raises(CatalogError, match=rf"^P51-\S+: P\S+ has {slug} already; choose another"):
        load_catalog(tmp_path)


def test_a_broken_document_is_named(tmp_path: Path) -> None:
    put(put(tmp_path), "Nothing here.", "P51-x.md")
    with pytest.raises(CatalogError, match=r"^P51-x.md: begin the file with a header"):
        load_catalog(tmp_path)
