"""An audit of a run against the lab: what was planted in its trajectories, and where it was caught.

Nothing of that was written down while the run went on. What the teacher was given is in the run's rows,
and from that its errors are drawn again; a trajectory that this does not reproduce is an error here, so
no number rests on a guess. Knows the run's folders and nothing of how its stages work.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path

from rich.table import Table

from align.errors import RecipeError
from align.mini.defect import Defect, Kind
from align.mini.given import Given, belief, of_description, of_picture
from align.mini.noise import DEFAULT, Noise, planted
from align.mini.oracle import MODEL, SOURCE
from align.mini.parts import TEACHER, trajectory
from align.mini.world import UnknownRequest, draw_situation
from align.records import (
    Categorised,
    Description,
    Dropped,
    DropReason,
    Query,
    RowT,
    Scored,
    Trajectory,
    read_rows,
)
from align.stages.seeds import candidate_seed

ROWS, DROPPED = "rows.jsonl", "dropped.jsonl"
GOOD = "good"
WRONG_DESCRIPTION = "upstream: wrong description"
WRONG_CATEGORY = "upstream: wrong category"
KINDS = (*map(str, Kind), WRONG_DESCRIPTION, WRONG_CATEGORY)
"""What can be bad about a candidate; an error upstream counts before whatever was planted on top of it."""


class Fate(StrEnum):
    """Where a candidate ended."""

    GATES = "caught at the gates"
    SCORE = "caught by the score"
    KEPT = "kept"
    UNTOLD = "no marks came"
    """Neither kept nor found wanting, so it counts for nothing."""


@dataclass(frozen=True, slots=True)
class Audit:
    """How many candidates of each kind met which fate, and how much scoring was made."""

    fates: Mapping[str, Counter[Fate]]
    """By kind; `GOOD` for candidates with no fault."""
    rounds: int
    """Rounds of marks that were given to trajectories."""
    scored: int
    rounds_each: int
    """Rounds of a trajectory that keeps full marks."""

    def recall(self, kind: str) -> float | None:
        """Share of a kind that was caught, of those whose fate is told; None where there are none."""
        fates = self.fates.get(kind, Counter())
        return _share(_caught(fates), _caught(fates) + fates[Fate.KEPT])

    @property
    def overall_recall(self) -> float | None:
        """The same over all kinds of faults."""
        fates = sum((self.fates.get(kind, Counter()) for kind in KINDS), Counter[Fate]())
        return _share(_caught(fates), _caught(fates) + fates[Fate.KEPT])

    @property
    def precision(self) -> float | None:
        """Share of the bad among what was caught."""
        bad = sum(_caught(self.fates.get(kind, Counter())) for kind in KINDS)
        return _share(bad, bad + self.good_lost)

    @property
    def good_lost(self) -> int:
        """Good candidates that were dropped."""
        return _caught(self.fates.get(GOOD, Counter()))

    @property
    def saved(self) -> float | None:
        """Share of the rounds that early exit spared; None where nothing was scored."""
        spent = _share(self.rounds, self.scored * self.rounds_each)
        return None if spent is None else 1 - spent


def audit(run_directory: Path, noise: Noise = DEFAULT) -> Audit:
    """Audit a run that was scored; RecipeError where its teacher was not the lab's with this noise."""
    fates: dict[str, Counter[Fate]] = {}
    known, ended = _Known(run_directory, noise), _fates(run_directory)
    for row in _rows(run_directory, "trajectories", Trajectory):
        fates.setdefault(known.kind(row), Counter())[ended.get(row.id, Fate.UNTOLD)] += 1
    rounds = _rounds(run_directory)
    return Audit(fates, sum(rounds), len(rounds), max(rounds, default=0))


def tables(found: Audit) -> Iterator[Table]:
    """The audit as two tables."""
    by_kind = Table("planted", "n", *Fate, "recall", title="what was planted, and where it was caught")
    for kind in (*KINDS, GOOD):
        fates = found.fates.get(kind, Counter())
        recall = "" if kind == GOOD else _percent(found.recall(kind))
        by_kind.add_row(kind, str(fates.total()), *(str(fates[fate]) for fate in Fate), recall)
    yield by_kind
    whole = Table("of the whole run", "", title="what that comes to")
    whole.add_row("recall over all kinds", _percent(found.overall_recall))
    whole.add_row("precision: planted or wrong upstream among what was caught", _percent(found.precision))
    whole.add_row("good candidates lost", f"{found.good_lost} of {found.fates.get(GOOD, Counter()).total()}")
    whole.add_row("scoring calls saved by early exit", _percent(found.saved))
    yield whole


class _Known:
    """What the run's rows say about what the teacher was given."""

    def __init__(self, directory: Path, noise: Noise) -> None:
        self._directory, self._noise = directory, noise
        self._queries = {row.id: row for row in _rows(directory, "queries", Query)}
        self._descriptions = {row.query_id: row.text for row in _if_made(directory, "describe", Description)}
        self._categories = {
            row.query_id: row.category for row in _if_made(directory, "categorise", Categorised)
        }

    def kind(self, row: Trajectory) -> str:
        """What is bad about a trajectory, or `GOOD`."""
        if row.teacher == MODEL:
            return GOOD
        query = self._query(row)
        situation = draw_situation(query.meta["seed"])
        category = self._categories.get(query.id, query.category)
        picture = of_picture(query.instruction, query.image_sha256, situation.scene)
        given, defect = self._written(row, picture, frozenset({category} if category else ()))
        if given.seen != picture.seen:
            return WRONG_DESCRIPTION
        if category != situation.truth.near:
            return WRONG_CATEGORY
        return str(defect.kind) if defect else GOOD

    def _written(
        self, row: Trajectory, picture: Given, policies: frozenset[str]
    ) -> tuple[Given, Defect | None]:
        """What the teacher was given and which defect it planted; the text tells which of both it got."""
        seed = candidate_seed(self._seed, row.candidate)
        text = self._descriptions.get(row.query_id)
        described = () if text is None else (of_description(picture.question, text),)
        for given in (*described, picture):
            try:
                believed = belief(given.truth, policies)
            except UnknownRequest:
                continue
            if trajectory(given.identity, believed, seed, self._noise).text == row.completion:
                return given, planted(given.identity, seed, believed, self._noise)
        raise RecipeError(
            f"trajectory {row.id} is not what {TEACHER} writes to this query: the run was made by another "
            "teacher, with another noise, or by another version of the lab"
        )

    def _query(self, row: Trajectory) -> Query:
        query = self._queries.get(row.query_id)
        if query is None or query.source != SOURCE:
            raise RecipeError(f"trajectory {row.id} is not about the lab's world, so nobody knows its truth")
        return query

    @cached_property
    def _seed(self) -> int:
        path = self._directory / "trajectories" / "manifest.json"
        try:
            return int(json.loads(path.read_bytes())["seed"])
        except (OSError, ValueError, KeyError, TypeError):
            raise RecipeError(f"{path} does not give the run's seed: finish the stage first") from None


def _fates(directory: Path) -> dict[str, Fate]:
    caught = {row.id: Fate.GATES for row in read_rows(directory / "gates" / DROPPED, Dropped)}
    kept = {row.id: Fate.KEPT for row in _rows(directory, "score", Scored)}
    judged = {
        row.id: Fate.SCORE if row.reason is DropReason.NOT_FULL_MARKS else Fate.UNTOLD
        for row in read_rows(directory / "score" / DROPPED, Dropped)
    }
    return caught | kept | judged


def _rounds(directory: Path) -> list[int]:
    """Rounds of every trajectory that was scored; none where the run does not keep those that failed."""
    path = directory / "score" / "scored.jsonl"
    return [len(row.rounds) for row in read_rows(path, Scored)] if path.exists() else []


def _rows(directory: Path, stage: str, row_type: type[RowT]) -> Iterator[RowT]:
    return read_rows(directory / stage / ROWS, row_type)


def _if_made(directory: Path, stage: str, row_type: type[RowT]) -> Iterator[RowT]:
    return _rows(directory, stage, row_type) if (directory / stage / ROWS).exists() else iter(())


def _caught(fates: Mapping[Fate, int]) -> int:
    return fates[Fate.GATES] + fates[Fate.SCORE]


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{share:.1%}"
