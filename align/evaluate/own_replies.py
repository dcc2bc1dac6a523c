"""Source-tag faithfulness inside an evaluation: which replies of a model are measured, and what came of it.

Measured while the model is served, told from files alone. What was measured on another benchmark, or with
other weights or settings, lies in another directory.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from align.errors import StageAborted
from align.evaluate.blanked_steps import Measured, Summary, recorded, summary
from align.evaluate.endpoint import Endpoint
from align.evaluate.faithful import STEPS_FILE, How, digest_of, measure, too_many_unscored
from align.evaluate.logs import Wanted, is_complete, latest_log, whole_samples
from align.evaluate.recipe import Faithful
from align.evaluate.replies_said import Said, said_in
from align.evaluate.reply import format_named
from align.evaluate.results import Faithfulness


@dataclass(frozen=True, slots=True)
class OwnReplies:
    """A model's replies to one benchmark, as far as they are measured."""

    model: str
    engine_name: str
    """What the engine calls the model."""
    version: str
    """Of the weights behind that name."""
    wanted: Wanted
    """The benchmark."""
    table: Faithful
    concurrency: int
    directory: Path

    @property
    def how(self) -> How:
        form = format_named(self.wanted.reasoning_format)
        return How(form, threshold=self.table.threshold, concurrency=self.concurrency)

    def said(self) -> list[Said] | None:
        """The replies; None before the benchmark is finished."""
        log = latest_log(self.wanted)
        if log is None or not is_complete(log, self.wanted):
            return None
        ids = self.wanted.ids[: self.table.count]
        return [said_in(sample, self.how.form) for sample in whole_samples(log, ids)]

    def measured(self, said: list[Said]) -> list[Measured | None]:
        """What is known of each reply; None where it was not measured yet."""
        there = recorded(self.directory / STEPS_FILE)
        return [there.get(digest_of(self.engine_name, self.version, one, self.how.form)) for one in said]


def is_measured(own: OwnReplies) -> bool:
    """Whether all is measured, but for what the engine could not tell if that is little enough."""
    if (said := own.said()) is None:
        return False
    found = own.measured(said)
    asked = [one for one, reply in zip(found, said, strict=True) if reply.text]
    failed = sum(one is not None and one.unscored is not None for one in asked)
    return None not in found and failed <= own.how.max_unscored * len(said)


def measure_own(own: OwnReplies, engine: Endpoint) -> None:
    """Measure what is missing, if the benchmark is finished; RecipeError where the engine cannot be used."""
    if said := own.said():
        with suppress(StageAborted):  # too many are unscored, which `told` says whenever results are gathered
            measure(replace(engine, version=own.version), said, own.how, own.directory, own.model)


def told(own: OwnReplies, notes: list[str]) -> Iterator[Faithfulness]:
    """What is known so far; what is not, and why, goes into the notes."""
    where = f"source tags, {own.model}"
    if (said := own.said()) is None:
        notes.append(f"{where}: wait for {own.table.of} to be finished")
        return
    found = own.measured(said)
    there = [one for one in found if one is not None]
    if len(there) < len(found):
        notes.append(f"{where}: {len(there)} of {len(found)} replies are measured, so there is no number")
        return
    summed = summary(own.model, there, own.table.threshold, own.version)
    if fault := too_many_unscored(summed, own.how.max_unscored):
        notes.append(f"{where}: not reported: {fault}")
        return
    notes += [f"{where}: {remark}" for remark in _remarks(own, summed)]
    yield from summed.faithfulness


def _remarks(own: OwnReplies, summed: Summary) -> Iterator[str]:
    """What a reader must know beside the numbers."""
    whole = len(own.wanted.task.dataset)
    if summed.replies < whole:
        yield f"the first {summed.replies} of {whole} replies to {own.table.of}"
    if summed.without_steps:
        yield f"{summed.without_steps} of {summed.replies} replies tag no step"
    for one in summed.sources:
        if one.gap is None:
            yield f"only one reply has steps tagged {one.source}, so there is no number"
