"""Steps measured with and without their picture: how they lie on disk, and what they come to.

The interval of a mean is from resampling replies, not steps: steps of one reply share its picture.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from align.evaluate.rates import wilson
from align.evaluate.results import Faithfulness
from align.evaluate.statistics import RESAMPLES
from policies.bundle import Interval
from policies.reply import Source

SEED = 20
THRESHOLD = 0.1
"""In nats per token: a step whose gap is smaller survives. At 0.1, ten tokens lose a factor of e."""
_BATCH = 500
"""Resamples that are in memory at once."""


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MeasuredStep(_Frozen):
    """One tagged step; log-probabilities are means per token of its words, in nats."""

    number: int
    """Among all steps of the reply, from 0."""
    source: Source
    text: str
    tokens: int
    pictured: float
    blank: float

    @property
    def gap(self) -> float:
        """What the words lose when the picture is blanked."""
        return self.pictured - self.blank


class Measured(_Frozen):
    """One reply."""

    id: str
    digest: str
    """Of model with its version, conversation and text."""
    steps: tuple[MeasuredStep, ...] = ()
    unscored: str | None = None
    """Why nothing is known about it."""


class OfSource(_Frozen):
    """Every step of one source."""

    source: Source
    steps: int
    replies: int
    gap: Interval | None
    """Mean over the steps, in nats per token, with its 95 % bootstrap interval; None for a single reply."""
    survives: Interval
    """Share of steps whose gap is below the threshold, with its Wilson interval."""

    def faithfulness(self, model: str, threshold: float) -> Faithfulness | None:
        """As the results have it; None for a single reply."""
        if self.gap is None:
            return None
        return Faithfulness(
            model=model,
            source=self.source.value,
            steps=self.steps,
            mean=self.gap.value,
            low=self.gap.low,
            high=self.gap.high,
            survives=self.survives,
            threshold=threshold,
        )


class Summary(_Frozen):
    """What was measured of one model."""

    model: str
    version: str
    """Which weights it was, as far as the server told; empty where it did not."""
    replies: int
    without_steps: int
    """Scored replies in which no step has a tag."""
    unscored: dict[str, int]
    """Replies by reason."""
    threshold: float
    """In nats per token."""
    sources: tuple[OfSource, ...]

    @property
    def faithfulness(self) -> list[Faithfulness]:
        """As the results have it; sources that fewer than two replies have are left out."""
        found = (source.faithfulness(self.model, self.threshold) for source in self.sources)
        return [entry for entry in found if entry]


def summary(model: str, measured: Sequence[Measured], threshold: float, version: str) -> Summary:
    """Sum up a model's replies."""
    scored = [reply for reply in measured if reply.unscored is None]
    seen = {step.source for reply in scored for step in reply.steps}
    return Summary(
        model=model,
        version=version,
        replies=len(measured),
        without_steps=sum(not reply.steps for reply in scored),
        unscored=dict(Counter(reply.unscored for reply in measured if reply.unscored)),
        threshold=threshold,
        sources=tuple(_of_source(source, scored, threshold) for source in Source if source in seen),
    )


def recorded(path: Path) -> dict[str, Measured]:
    """Replies of an earlier call by digest, scored or not; a torn line is none."""
    found: dict[str, Measured] = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                one = Measured.model_validate_json(line)
            except ValidationError:
                continue
            found[one.digest] = one
    return found


def write_all(path: Path, measured: Sequence[Measured]) -> None:
    """One line per reply, in their order, in place of whatever the file held."""
    _replace(path, "".join(f"{one.model_dump_json()}\n" for one in measured))


def write_summary(path: Path, told: Summary) -> None:
    """Whole or not at all."""
    _replace(path, told.model_dump_json(indent=2) + "\n")


def _replace(path: Path, text: str) -> None:
    draft = path.with_suffix(".part")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def _of_source(source: Source, replies: Sequence[Measured], threshold: float) -> OfSource:
    of_reply = [[step.gap for step in reply.steps if step.source is source] for reply in replies]
    gaps = [gaps for gaps in of_reply if gaps]
    steps = sum(map(len, gaps))
    survived = sum(gap < threshold for of_one in gaps for gap in of_one)
    return OfSource(
        source=source,
        steps=steps,
        replies=len(gaps),
        gap=_mean(gaps),
        survives=wilson(survived, steps),
    )


def _mean(groups: Sequence[Sequence[float]]) -> Interval | None:
    """Mean over all values with its interval from resampled groups; one group says nothing of the spread."""
    if len(groups) < 2:
        return None
    import numpy as np

    sums = np.array([sum(group) for group in groups])
    counts = np.array([len(group) for group in groups])
    random = np.random.default_rng(SEED)
    means: list[float] = []
    for _ in range(0, RESAMPLES, _BATCH):
        drawn = random.integers(0, len(groups), (_BATCH, len(groups)))
        means += (sums[drawn].sum(1) / counts[drawn].sum(1)).tolist()
    low, high = np.quantile(means, (0.025, 0.975))
    return Interval(value=float(sums.sum() / counts.sum()), low=float(low), high=float(high))
