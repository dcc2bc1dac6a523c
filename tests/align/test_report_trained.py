"""The report of a training: its curves and its ends, finished or not."""

from pathlib import Path

from align.manifest import Origin, begin
from align.report.page import write_report
from align.train.curve import write_csv, write_curve

ORIGIN = Origin(stage="srpo", recipe_digest="0" * 64, inputs={})
STEPS = [
    {
        "step": number,
        "epoch": number / 30,
        "loss": 0.7 - number / 100,
        "grad_norm": 1.0,
        "learning_rate": 1e-4,
        "rewards/chosen": number / 10,
        "rewards/rejected": -number / 10,
        "rewards/margins": number / 5,
        "rewards/accuracies": 1.0,
    }
    for number in range(1, 31)
]


def begun(run: Path) -> Path:
    begin(run / "srpo", ORIGIN)
    (run / "srpo" / "adapter").mkdir()
    return run / "srpo" / "adapter"


def test_a_finished_training_shows_its_curves_and_its_ends(tmp_path: Path) -> None:
    write_curve(STEPS, begun(tmp_path))
    page = write_report(tmp_path).read_text()
    assert '<img class="drawing" src="data:image/svg+xml;base64,' in page
    assert "0.6450" in page  # loss, mean of steps 1 to 10
    assert "5.1000" in page  # margin, mean of steps 21 to 30
    assert "30 steps; means" in page


def test_a_training_under_way_shows_what_there_is(tmp_path: Path) -> None:
    write_csv(STEPS[:10], begun(tmp_path))
    page = write_report(tmp_path).read_text()
    assert "10 steps; means" in page
    assert "<img class=" not in page


def test_a_training_that_recorded_nothing_yet_shows_nothing(tmp_path: Path) -> None:
    begun(tmp_path)
    assert "Where it began and ended" not in write_report(tmp_path).read_text()
