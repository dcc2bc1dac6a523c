"""Training rows: image, instruction and completion, and nothing that the student will not have."""

from align.records import Query, SftRow, Trajectory
from align.stages import gates, queries
from align.stages.workspace import Made, Workspace

STAGE = "rows"


def make(workspace: Workspace) -> Made:
    """One row for every trajectory that passed the gates."""
    asked = {query.id: query for query in workspace.rows(queries.STAGE, Query)}
    passed = workspace.rows(gates.STAGE, Trajectory)
    return workspace.leave(STAGE, (sft_row(asked[passing.query_id], passing) for passing in passed))


def sft_row(query: Query, trajectory: Trajectory) -> SftRow:
    """The row that teaches this reply to this query."""
    return SftRow(
        id=query.id,
        instruction=query.instruction,
        image=query.image,
        completion=trajectory.completion,
    )
