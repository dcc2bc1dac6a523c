"""Training rows: image, instruction and completion, and nothing that the student will not have."""

from align.records import Query, SftRow, Trajectory


def sft_row(query: Query, trajectory: Trajectory) -> SftRow:
    """The row that teaches this reply to this query."""
    return SftRow(
        id=query.id,
        instruction=query.instruction,
        image=query.image,
        completion=trajectory.completion,
    )
