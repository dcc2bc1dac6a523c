"""Select: from D_HQ to the training rows D_SFT, balanced by category, source and severity.

Harmless rows are chosen apart and in a share of their own: without them over-refusal cannot fall.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from align.errors import StageAborted
from align.recipe_tables import Mine, Select
from align.records import Dropped, DropReason, Scored, SftRow
from align.stages import score
from align.stages.balance import Axes, balanced_apart, split
from align.stages.cases import Case, cases
from align.stages.workspace import Made, Workspace
from policies.reply import Verdict
from policies.trace import read

STAGE = "select"


@dataclass(frozen=True, slots=True)
class Eligible:
    """A trajectory with full marks, and what it decides."""

    case: Case
    scored: Scored
    verdict: Verdict

    @property
    def benign(self) -> bool:
        """Whether the request was fulfilled: full marks say that this was right."""
        return self.verdict is Verdict.COMPLY

    @property
    def general(self) -> bool:
        """Whether it is harmless and near no policy."""
        return self.benign and self.case.category is None

    @property
    def axes(self) -> Axes:
        query = self.case.query
        return self.case.category or "none", query.source, str(query.severity or "unknown")


def make(workspace: Workspace) -> Made:
    """Choose the training rows; StageAborted where too few are left."""
    wanted = workspace.recipe.select
    candidates = list(eligible(workspace))
    lot = str(workspace.recipe.seed)
    chosen = choose(first_of_each(candidates), wanted, lot)
    if len(chosen) < wanted.min_count:
        raise StageAborted(
            f"{STAGE}: {len(chosen)} rows have full marks, fewer than select.min_count = {wanted.min_count}: "
            "begin with more queries, or see the report for where they are lost"
        )
    return workspace.leave(STAGE, map(sft_row, chosen), _left_out(candidates, chosen))


def eligible(workspace: Workspace) -> Iterable[Eligible]:
    """D_HQ, with verdicts."""
    known = cases(workspace)
    for row in workspace.rows(score.STAGE, Scored):
        trace = read(row.completion, workspace.reasoning_format, workspace.catalog.citable)
        if trace.verdict is not None:  # the gates let no other pass
            yield Eligible(known[row.query_id], row, trace.verdict)


def first_of_each(candidates: Iterable[Eligible]) -> list[Eligible]:
    """One candidate for each query: all have the same marks, so the first."""
    firsts: dict[str, Eligible] = {}
    for found in candidates:
        firsts.setdefault(found.scored.query_id, found)
    return list(firsts.values())


def choose(candidates: Sequence[Eligible], wanted: Select | Mine, lot: str) -> list[Eligible]:
    """Some of them, in order, balanced among the harmful and among the benign; another lot, other rows."""
    harmful, benign = ([row for row in candidates if row.benign is kind] for kind in (False, True))
    takes = split(wanted.count, wanted.benign_share, len(harmful), len(benign))
    drawn = (
        balanced_apart(
            rows,
            take,
            apart=lambda row: row.general,
            share=wanted.general_share,
            axes=lambda row: row.axes,
            lot=lambda row: f"{lot} {row.scored.id}",
        )
        for rows, take in zip((harmful, benign), takes, strict=True)
    )
    kept = {row.scored.id for rows in drawn for row in rows}
    return [row for row in candidates if row.scored.id in kept]


def _left_out(candidates: Iterable[Eligible], chosen: Iterable[Eligible]) -> Iterable[Dropped]:
    taken = {row.scored.query_id: row.scored.id for row in chosen}
    for row in candidates:
        if row.scored.query_id not in taken:
            reason, detail = DropReason.NOT_SELECTED, "its group had more than its share"
        elif taken[row.scored.query_id] != row.scored.id:
            reason, detail = DropReason.ANOTHER_CANDIDATE, taken[row.scored.query_id]
        else:
            continue
        yield Dropped(id=row.scored.id, stage=STAGE, reason=reason, detail=detail)


def sft_row(row: Eligible) -> SftRow:
    """The row that teaches this reply to this query: nothing that the student will not have."""
    query = row.case.query
    return SftRow(
        id=query.id,
        instruction=query.instruction,
        image=query.image,
        completion=row.scored.completion,
        category=row.case.category,
        severity=query.severity,
        verdict=row.verdict,
        source=query.source,
        licence=query.licence,
    )
