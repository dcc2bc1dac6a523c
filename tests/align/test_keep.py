"""`mini keep`: what of a run gets into the repository, and what does not."""

from pathlib import Path

import pytest

from align.__main__ import main
from align.errors import RecipeError
from align.mini.keep import check_writable, keep
from policies.bundle import Interval, ReportCard, read_bundle
from tests.serve.gateways import write_bundle

RATE = Interval(value=0.5, low=0.2, high=0.8)
CARD = ReportCard(
    task="t",
    n=2,
    unscored=0,
    judge="none",
    harmful_rate=RATE,
    refusal_rate=RATE,
    parsed=RATE,
    named_subject=RATE,
)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Where an earlier adapter is kept."""
    write_bundle(tmp_path / "weights" / "pst-sft", weights=b"earlier")
    (tmp_path / "weights" / "curve.json").write_text("[9]")
    return tmp_path / "weights"


def finished_run(directory: Path, card: ReportCard | None = CARD) -> Path:
    write_bundle(directory / "bundle" / "pst-sft", "pst-sft", report_card=card)
    (directory / "bundle" / ".pst-sft.partial-1").mkdir()
    (directory / "bundle" / ".pst-sft.partial-1" / "manifest.json").touch()
    (directory / "bundle" / "pst-sft" / "notes.txt").touch()
    (directory / "sft" / "adapter").mkdir(parents=True)
    (directory / "sft" / "adapter" / "training.json").write_text("[2, 1]")
    return directory


def test_the_bundle_and_its_curve_take_the_place_of_those_before(tmp_path: Path, weights: Path) -> None:
    kept = keep(finished_run(tmp_path / "run"), weights / "pst-sft", weights / "curve.json")
    assert read_bundle(weights / "pst-sft") == kept
    assert kept.report_card == CARD
    assert (weights / "curve.json").read_text() == "[2, 1]"
    assert sorted(path.name for path in weights.rglob("*")) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "curve.json",
        "manifest.json",
        "pst-sft",
    ]


def test_the_first_one_needs_nothing_before_it(tmp_path: Path) -> None:
    keep(finished_run(tmp_path / "run"), tmp_path / "pst-sft", tmp_path / "curve.json")
    assert read_bundle(tmp_path / "pst-sft").report_card == CARD


def test_a_run_without_a_report_card_is_refused(tmp_path: Path, weights: Path) -> None:
    with pytest.raises(RecipeError, match="has no report card: finish the run"):
        keep(finished_run(tmp_path / "run", card=None), weights / "pst-sft", weights / "curve.json")
    assert (weights / "pst-sft" / "adapter_model.safetensors").read_bytes() == b"earlier"


def test_a_run_without_its_curve_is_refused(tmp_path: Path, weights: Path) -> None:
    run = finished_run(tmp_path / "run")
    (run / "sft" / "adapter" / "training.json").unlink()
    with pytest.raises(RecipeError, match="--from sft"):
        keep(run, weights / "pst-sft", weights / "curve.json")
    assert (weights / "curve.json").read_text() == "[9]"


def test_a_directory_that_is_no_finished_run_is_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mini", "keep", str(tmp_path)]) == 2
    assert "holds 0 bundles" in capsys.readouterr().err


def test_weights_that_cannot_be_written_are_told_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be written to"):
        check_writable(tmp_path / "not-there")
