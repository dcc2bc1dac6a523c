"""Score: trajectories that passed the gates, marked in five dimensions; kept where every mark is full.

What is kept is the paper's D_HQ (`rows.jsonl`); `scored.jsonl` has all of them, for the report.
"""

from dataclasses import dataclass

from align.records import FULL_MARK, Dropped, DropReason, Scored, Trajectory, write_rows
from align.stages import gates
from align.stages.asking import AskingStage, ask_all
from align.stages.cases import Case, cases
from align.stages.scoring import Patience, marks
from align.stages.workspace import SCORED_FILE, Made, Workspace
from align.teacher.desk import Desk

STAGE = "score"


@dataclass(frozen=True, slots=True)
class Unscored:
    """A trajectory that is to be scored."""

    case: Case
    trajectory: Trajectory

    @property
    def id(self) -> str:
        return self.trajectory.id


def items(workspace: Workspace) -> tuple[Unscored, ...]:
    """Every trajectory that passed the gates."""
    known = cases(workspace)
    passed = workspace.rows(gates.STAGE, Trajectory)
    return tuple(Unscored(known[trajectory.query_id], trajectory) for trajectory in passed)


async def work(item: Unscored, desk: Desk, workspace: Workspace) -> Scored:
    """One trajectory's marks."""
    wanted = workspace.recipe.score
    patience = Patience(wanted.rounds, wanted.unreadable_retries)
    trajectory = item.trajectory
    return Scored(
        query_id=trajectory.query_id,
        candidate=trajectory.candidate,
        completion=trajectory.completion,
        scorer=desk.role("scorer").role.model,
        rounds=await marks(item.case, trajectory.completion, patience, desk, workspace),
    )


SCORE: AskingStage[Unscored, Scored] = AskingStage(
    STAGE,
    items=items,
    work=work,
    roles=lambda _: ("scorer",),
    max_failed_share=lambda recipe: recipe.score.max_failed_share,
    together=lambda item: item.case.likeness,
)


def make(workspace: Workspace) -> Made:
    """Score everything, keep what is full."""
    finished = ask_all(SCORE, workspace)
    write_rows(workspace.folder(STAGE) / SCORED_FILE, finished.rows)
    wanting = [_not_full(row) for row in finished.rows if not row.full]
    kept = (row for row in finished.rows if row.full)
    return workspace.leave(STAGE, kept, [*finished.dropped, *wanting])


def _not_full(row: Scored) -> Dropped:
    number, scores = next(found for found in enumerate(row.rounds, start=1) if not found[1].full)
    low = ", ".join(f"{name} {mark}" for name, mark in scores.marks.items() if mark < FULL_MARK)
    detail = f"{low} in round {number} of {len(row.rounds)}"
    return Dropped(id=row.id, stage=STAGE, reason=DropReason.NOT_FULL_MARKS, detail=detail)
