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
    (tmp_path / "weights" / "pst-sft-training.json").write_text("[9]")
    return tmp_path / "weights"


def finished_run(directory: Path, card: ReportCard | None = CARD) -> Path:
    seeds = {"data": 1, "sft": 1}
    write_bundle(directory / "bundle" / "pst-sft", "pst-sft", report_card=card, seeds=seeds)
    write_bundle(
        directory / "bundle" / "pst", "pst", report_card=card, seeds={"data": 1, "sft": 1, "srpo": 1}
    )
    (directory / "bundle" / ".pst-sft.partial").mkdir()
    (directory / "bundle" / ".pst-sft.partial" / "manifest.json").touch()
    (directory / "bundle" / "pst-sft" / "notes.txt").touch()
    for stage, curve in (("sft", "[2, 1]"), ("srpo", "[0.7]")):
        (directory / stage / "adapter").mkdir(parents=True)
        (directory / stage / "adapter" / "training.json").write_text(curve)
    return directory


def test_bundles_and_their_curves_take_the_place_of_those_before(tmp_path: Path, weights: Path) -> None:
    kept = keep(finished_run(tmp_path / "run"), weights)
    assert [manifest.name for manifest in kept] == ["pst", "pst-sft"]
    assert [read_bundle(weights / manifest.name) for manifest in kept] == kept
    assert all(manifest.report_card == CARD for manifest in kept)
    assert (weights / "pst-sft-training.json").read_text() == "[2, 1]"
    assert (weights / "pst-training.json").read_text() == "[0.7]"
    files = ["adapter_config.json", "adapter_model.safetensors", "manifest.json"]
    assert sorted(path.relative_to(weights).as_posix() for path in weights.rglob("*.*")) == sorted(
        [
            "pst-sft-training.json",
            "pst-training.json",
            *(f"{name}/{file}" for name in ("pst", "pst-sft") for file in files),
        ]
    )


def test_the_first_one_needs_nothing_before_it(tmp_path: Path) -> None:
    keep(finished_run(tmp_path / "run"), tmp_path)
    assert read_bundle(tmp_path / "pst-sft").report_card == CARD


def test_a_run_without_a_report_card_is_refused(tmp_path: Path, weights: Path) -> None:
    with pytest.raises(RecipeError, match="has no report card: finish the run"):
        keep(finished_run(tmp_path / "run", card=None), weights)
    assert (weights / "pst-sft" / "adapter_model.safetensors").read_bytes().endswith(b"earlier")


@pytest.mark.parametrize("stage", ["sft", "srpo"])
def test_a_run_without_a_curve_is_refused_and_nothing_of_it_kept(
    stage: str, tmp_path: Path, weights: Path
) -> None:
    run = finished_run(tmp_path / "run")
    (run / stage / "adapter" / "training.json").unlink()
    with pytest.raises(RecipeError, match=f"--from {stage}"):
        keep(run, weights)
    assert (weights / "pst-sft-training.json").read_text() == "[9]"
    assert (weights / "pst-sft" / "adapter_model.safetensors").read_bytes().endswith(b"earlier")


def test_a_directory_that_is_no_finished_run_is_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mini", "keep", str(tmp_path)]) == 2
    assert "holds no bundle" in capsys.readouterr().err


def test_weights_that_cannot_be_written_are_told_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be written to"):
        check_writable(tmp_path / "not-there")
