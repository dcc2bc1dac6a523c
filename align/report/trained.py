"""What a training stage left for people: its curves, and where they began and ended."""

import base64
import csv
from collections.abc import Mapping, Sequence

from align.report.figures import Drawing, Listing
from align.report.gather import Run, StageFolder
from align.report.section import Body
from align.report.spelling import number
from align.stages.training import ADAPTER
from align.train.curve import CSV_FILE, PICTURE_FILE

_AVERAGED = 10
"""Steps at either end: a single one is mostly noise."""
_TOLD = {
    "loss": "loss",
    "rewards/margins": "margin between chosen and rejected",
    "rewards/accuracies": "pairs the right way round",
}


def training(stage: StageFolder, run: Run) -> Body | None:
    """Curves of a training, finished or not; None where nothing was recorded yet."""
    adapter = stage.path / ADAPTER
    if not (adapter / CSV_FILE).is_file():
        return None
    with (adapter / CSV_FILE).open(encoding="utf-8", newline="") as file:
        steps = list(csv.DictReader(file))
    if not steps:
        return None
    ends = Listing(
        "Where it began and ended",
        ("", f"first {_AVERAGED} steps", f"last {_AVERAGED} steps"),
        tuple(_ends(steps)),
        note=f"{number(len(steps))} steps; means",
    )
    picture = adapter / PICTURE_FILE
    if not picture.is_file():
        return Body(0, 0, (ends,))
    encoded = base64.b64encode(picture.read_bytes()).decode()
    drawing = Drawing("Step by step", f"data:image/svg+xml;base64,{encoded}", "curves of the training")
    return Body(0, 0, (drawing, ends))


def _ends(steps: Sequence[Mapping[str, str]]) -> list[tuple[str, ...]]:
    told = [(column, label) for column, label in _TOLD.items() if column in steps[0]]
    return [
        (label, *(f"{_mean(part, column):.4f}" for part in (steps[:_AVERAGED], steps[-_AVERAGED:])))
        for column, label in told
    ]


def _mean(steps: Sequence[Mapping[str, str]], column: str) -> float:
    return sum(float(step[column]) for step in steps) / len(steps)
