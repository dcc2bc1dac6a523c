"""Bundles: whole or absent, verified, never written over."""

from pathlib import Path

import pytest

from align.train.bundle import attach_report_card, write_bundle
from policies.bundle import (
    CONFIG_FILE,
    MANIFEST_FILE,
    WEIGHTS_FILE,
    BaseModelIdentity,
    BundleError,
    Interval,
    Manifest,
    ReportCard,
    read_bundle,
)
from policies.catalog import load_catalog

BASE = BaseModelIdentity(
    id="some-base", architecture="Qwen2_5_VLForConditionalGeneration", config_digest="0" * 64
)


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    directory = tmp_path / "adapter"
    directory.mkdir()
    (directory / CONFIG_FILE).write_text("{}")
    (directory / WEIGHTS_FILE).write_bytes(b"weights")
    (directory / "optimizer.pt").write_bytes(b"never published")
    return directory


def published(adapter: Path, out: Path, name: str = "pst-sft") -> Manifest:
    return write_bundle(
        adapter,
        out,
        name=name,
        base=BASE,
        catalog=load_catalog(),
        reasoning_format="think",
        recipe_digest="2" * 64,
        data_digest="3" * 64,
        seeds={"sft": 1},
    )


def test_a_bundle_says_which_words_of_which_clauses_it_was_trained_on(adapter: Path, tmp_path: Path) -> None:
    written = published(adapter, tmp_path / "bundle")
    assert written.policy_digest == load_catalog().digest
    assert written.policies == dict(load_catalog().fingerprints)


def test_a_bundle_reads_back_as_it_was_written(adapter: Path, tmp_path: Path) -> None:
    written = published(adapter, tmp_path / "bundle")
    assert read_bundle(tmp_path / "bundle") == written
    assert written.served_name == f"pst-sft@{written.digest[:12]}"
    assert sorted(path.name for path in (tmp_path / "bundle").iterdir()) == [
        CONFIG_FILE,
        WEIGHTS_FILE,
        MANIFEST_FILE,
    ]


def test_a_report_card_does_not_change_the_identity(adapter: Path, tmp_path: Path) -> None:
    written = published(adapter, tmp_path / "bundle")
    rate = Interval(value=0.5, low=0.2, high=0.8)
    card = ReportCard(
        task="t",
        n=2,
        unscored=0,
        judge="none",
        harmful_rate=rate,
        refusal_rate=rate,
        parsed=rate,
        named_subject=rate,
    )
    attach_report_card(tmp_path / "bundle", written, card)
    again = read_bundle(tmp_path / "bundle")
    assert again.report_card == card
    assert again.served_name == written.served_name


def test_changed_weights_are_refused(adapter: Path, tmp_path: Path) -> None:
    published(adapter, tmp_path / "bundle")
    (tmp_path / "bundle" / WEIGHTS_FILE).write_bytes(b"weightz")
    with pytest.raises(BundleError, match="changed after it was written"):
        read_bundle(tmp_path / "bundle")


@pytest.mark.parametrize("file", [CONFIG_FILE, WEIGHTS_FILE, MANIFEST_FILE])
def test_an_incomplete_bundle_is_refused(adapter: Path, tmp_path: Path, file: str) -> None:
    published(adapter, tmp_path / "bundle")
    (tmp_path / "bundle" / file).unlink()
    with pytest.raises(BundleError, match=file.split(".")[0]):
        read_bundle(tmp_path / "bundle")


def test_a_bundle_is_never_written_over(adapter: Path, tmp_path: Path) -> None:
    published(adapter, tmp_path / "bundle")
    with pytest.raises(BundleError, match="never written over"):
        published(adapter, tmp_path / "bundle")


def test_a_name_that_could_be_a_path_is_refused_and_leaves_nothing(adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="not an adapter name"):
        published(adapter, tmp_path / "bundle", name="../other")
    assert not (tmp_path / "bundle").exists()


def test_a_manifest_with_unknown_fields_is_refused(adapter: Path, tmp_path: Path) -> None:
    published(adapter, tmp_path / "bundle")
    path = tmp_path / "bundle" / MANIFEST_FILE
    path.write_text(path.read_text().replace('"name"', '"nickname"', 1))
    with pytest.raises(BundleError, match="no manifest of this release; if an earlier one made it, train"):
        read_bundle(tmp_path / "bundle")
