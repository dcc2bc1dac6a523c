"""The audit of a run on the lab: it draws again what was planted, and counts where it was caught."""

import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from align.errors import RecipeError
from align.mini.audit import GOOD, WRONG_CATEGORY, WRONG_DESCRIPTION, Audit, Fate, audit, tables
from align.mini.defect import Kind, Said
from align.mini.given import Given, of_description, of_picture
from align.mini.noise import Noise
from align.mini.parts import describe, teach
from align.records import (
    DIMENSIONS,
    Categorised,
    Description,
    Dropped,
    DropReason,
    Query,
    Row,
    Scored,
    Scores,
    Trajectory,
    write_rows,
)
from tests.align.asking_the_lab import GIVEN, rows

NONE = Noise.none()
HALF_BAD = replace(NONE, defect_share=0.5)
FULL = Scores(**dict.fromkeys(DIMENSIONS, 5))
RECIPE_SEED = 3


def leave(run: Path, stage: str, found: Iterable[Row], dropped: Iterable[Dropped] = ()) -> None:
    write_rows(run / stage / "rows.jsonl", found)
    write_rows(run / stage / "dropped.jsonl", dropped)


def scored(trajectory: Trajectory, rounds: int) -> Scored:
    return Scored(
        query_id=trajectory.query_id, candidate=trajectory.candidate, completion=trajectory.completion,
        scorer="lab-scorer", rounds=(FULL,) * rounds,
    )  # fmt: skip


def dropped(trajectory: Trajectory, stage: str, reason: DropReason) -> Dropped:
    return Dropped(id=trajectory.id, stage=stage, reason=reason, detail="x")


class Run:
    """A run directory as the stages leave it, with the lab's teacher and fates of the test's choosing."""

    def __init__(self, directory: Path, noise: Noise, *, teacher_sees: bool = True) -> None:
        self.directory, self._noise, self._sees = directory, noise, teacher_sees
        self.categories = {query.id: query.category for query in rows()}
        leave(directory, "queries", rows())

    def write(self) -> tuple[Trajectory, ...]:
        """What comes before the gates; the trajectories, one for every query."""
        texts = {query.id: self._described(query).text for query in rows()}
        found = [
            Description(query_id=id_, text=text, describer="lab-describer") for id_, text in texts.items()
        ]
        leave(self.directory, "describe", found)
        named = self.categories.items()
        leave(
            self.directory,
            "categorise",
            (Categorised(query_id=id_, category=one, by="x") for id_, one in named),
        )
        written = tuple(self._trajectory(query, texts[query.id]) for query in rows())
        leave(self.directory, "trajectories", written)
        (self.directory / "trajectories" / "manifest.json").write_text(json.dumps({"seed": RECIPE_SEED}))
        return written

    def end(
        self, kept: Sequence[Trajectory], gates: Sequence[Dropped], score: Sequence[Dropped], low: int = 0
    ) -> Audit:
        """Every candidate's fate, then the audit; `low` of them got one round and the kept ones five."""
        leave(self.directory, "gates", (), gates)
        leave(self.directory, "score", (scored(one, 5) for one in kept), score)
        every = [scored(one, 5) for one in kept] + [scored(one, 1) for one in kept[:low]]
        write_rows(self.directory / "score" / "scored.jsonl", every)
        return audit(self.directory, self._noise)

    def _described(self, query: Query) -> Said:
        return describe(self._picture(query), RECIPE_SEED, self._noise)

    def _picture(self, query: Query) -> Given:
        situation = next(one for one in GIVEN if one.seed == query.meta["seed"])
        return of_picture(query.instruction, query.image_sha256, situation.scene)

    def _trajectory(self, query: Query, text: str) -> Trajectory:
        given = self._picture(query) if self._sees else of_description(query.instruction, text)
        category = self.categories[query.id]
        system = f"{category} A policy\n" if category else ""
        said = teach(replace(given, system=system), RECIPE_SEED * 1000 + 0, self._noise)
        return Trajectory(
            query_id=query.id, candidate=0, completion=said.text, teacher="lab-teacher",
            finish_reason=said.finish_reason, usage=None,
        )  # fmt: skip


@pytest.mark.parametrize("teacher_sees", [True, False])
def test_every_planted_defect_is_drawn_again_whether_the_teacher_saw_or_read(
    tmp_path: Path, teacher_sees: bool
) -> None:
    run = Run(tmp_path, HALF_BAD, teacher_sees=teacher_sees)
    found = run.end(run.write(), (), ())
    bad = sum(fates.total() for kind, fates in found.fates.items() if kind != GOOD)
    assert 15 < bad < 45
    assert set(found.fates) <= {GOOD, *map(str, Kind)}
    assert sum(fates.total() for fates in found.fates.values()) == len(rows())
    assert found.overall_recall == 0


def test_recall_precision_and_what_is_lost_follow_from_the_fates(tmp_path: Path) -> None:
    run = Run(tmp_path, HALF_BAD)
    written = run.write()
    bad = run.end(written, (), ()).fates.keys() - {GOOD}
    good = [one for one in written if kind_of(run, one) == GOOD]
    rest = [one for one in written if one not in good]
    leave(run.directory, "trajectories", written)
    found = run.end(
        good[3:],
        [dropped(one, "gates", DropReason.NO_TRACE) for one in (*rest[:4], good[0])],
        [
            *(dropped(one, "score", DropReason.NOT_FULL_MARKS) for one in (*rest[4:-1], *good[1:2])),
            dropped(good[2], "score", DropReason.UNREADABLE),
            dropped(rest[-1], "score", DropReason.UNAVAILABLE),
        ],
    )
    assert found.fates.keys() - {GOOD} == bad
    assert sum(found.fates[kind][Fate.GATES] for kind in bad) == 4
    assert sum(found.fates[kind][Fate.SCORE] for kind in bad) == len(rest) - 5
    assert (found.good_lost, found.fates[GOOD][Fate.UNTOLD]) == (2, 1)
    assert found.overall_recall == 1.0
    assert found.precision == (len(rest) - 1) / (len(rest) + 1)


def kind_of(run: Run, trajectory: Trajectory) -> str:
    """Its kind, by a run in which nothing but it was written."""
    write_rows(run.directory / "trajectories" / "rows.jsonl", [trajectory])
    (kind,) = run.end([trajectory], (), ()).fates
    return kind


def test_without_marks_nothing_is_caught_and_nothing_is_missed(tmp_path: Path) -> None:
    run = Run(tmp_path, HALF_BAD)
    written = run.write()
    found = run.end((), (), [dropped(one, "score", DropReason.UNREADABLE) for one in written])
    assert (found.overall_recall, found.precision, found.saved) == (None, None, None)


def test_what_went_wrong_before_the_teacher_is_counted_apart(tmp_path: Path) -> None:
    """A wrong description only where the teacher read it; a wrong category wherever it was."""
    misled = Run(tmp_path / "a", replace(NONE, wrong_subject=1.0), teacher_sees=False)
    assert set(misled.end(misled.write(), (), ()).fates) == {WRONG_DESCRIPTION}
    seeing = Run(tmp_path / "b", replace(NONE, wrong_subject=1.0), teacher_sees=True)
    assert set(seeing.end(seeing.write(), (), ()).fates) == {GOOD}
    seeing.categories = dict.fromkeys(seeing.categories, "P04")
    found = seeing.end(seeing.write(), (), ())
    rightly = sum(situation.truth.near == "P04" for situation in GIVEN)
    assert found.fates[WRONG_CATEGORY].total() == len(GIVEN) - rightly


def test_early_exit_saves_the_rounds_that_were_not_made(tmp_path: Path) -> None:
    run = Run(tmp_path, NONE)
    found = run.end(run.write(), (), (), low=40)
    assert found.saved == pytest.approx(1 - (60 * 5 + 40) / (100 * 5))


def test_a_trajectory_that_is_not_the_labs_stops_the_audit(tmp_path: Path) -> None:
    run = Run(tmp_path, NONE)
    first, *others = run.write()
    foreign = first.model_copy(update={"completion": "Something else."})
    leave(run.directory, "trajectories", [foreign, *others])
    with pytest.raises(RecipeError, match=f"trajectory {first.id} is not what lab-teacher writes"):
        run.end(others, (), ())
    elsewhere = [one.model_copy(update={"source": "local"}) for one in rows()]
    write_rows(run.directory / "queries" / "rows.jsonl", elsewhere)
    with pytest.raises(RecipeError, match="is not about the lab's world"):
        run.end(others, (), ())


def test_the_teacher_without_fault_planted_nothing(tmp_path: Path) -> None:
    run = Run(tmp_path, NONE)
    clean = [one.model_copy(update={"teacher": "groundrule-oracle"}) for one in run.write()]
    leave(run.directory, "trajectories", clean)
    assert set(run.end(clean, (), ()).fates) == {GOOD}


def test_the_tables_name_every_kind_and_leave_nothing_open_as_zero(tmp_path: Path) -> None:
    run = Run(tmp_path, NONE)
    paper = io.StringIO()
    for table in tables(run.end(run.write(), (), ())):
        Console(file=paper, width=160).print(table)
    text = paper.getvalue()
    assert all(kind in text for kind in (*map(str, Kind), WRONG_DESCRIPTION, WRONG_CATEGORY, GOOD))
    assert "none" in text
