"""Stage 2 of PST in the graph: preference pairs and stage 1's adapter in, a better adapter out."""

from align.stages import pairs, sft
from align.stages.base_model import base_directory
from align.stages.training import adapter_of, trained
from align.stages.workspace import ROWS_FILE, Made, Workspace

STAGE = "srpo"


def make(workspace: Workspace) -> Made:
    """Preference optimization on chosen and rejected reasoning."""
    from align.train.job import Job, Stage2

    settings = workspace.recipe.srpo
    assert settings is not None  # the stage is wanted only where there is one
    job = Job(
        rows=workspace.folder(pairs.STAGE) / ROWS_FILE,
        images_root=workspace.directory,
        base=base_directory(workspace),
        out=adapter_of(workspace, STAGE),
        reasoning_format=workspace.recipe.trajectories.reasoning_format,
        what=Stage2(settings=settings, sft_adapter=adapter_of(workspace, sft.STAGE)),
    )
    return trained(workspace, STAGE, job)
