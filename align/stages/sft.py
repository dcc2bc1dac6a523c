"""Stage 1 of PST in the graph: training rows in, an adapter out."""

from align.stages import select
from align.stages.base_model import base_directory
from align.stages.training import adapter_of, trained
from align.stages.workspace import ROWS_FILE, Made, Workspace

STAGE = "sft"


def make(workspace: Workspace) -> Made:
    """Supervised fine-tuning on the selected rows."""
    from align.train.job import Job, Stage1

    job = Job(
        rows=workspace.folder(select.STAGE) / ROWS_FILE,
        images_root=workspace.directory,
        base=base_directory(workspace),
        out=adapter_of(workspace, STAGE),
        reasoning_format=workspace.recipe.trajectories.reasoning_format,
        what=Stage1(settings=workspace.recipe.sft),
    )
    return trained(workspace, STAGE, job)
