"""What the two training stages have in common: a job is run, here or launched; its adapter is the result."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from align.errors import StageAborted
from align.records import Dropped, read_rows, write_rows
from align.stages.drops import counted
from align.stages.workspace import DROPPED_FILE, Made, Workspace
from align.train.errors import TrainingFailed
from policies.bundle import bundle_digest

if TYPE_CHECKING:
    from align.train.job import Job

ADAPTER = "adapter"


def adapter_of(workspace: Workspace, stage: str) -> Path:
    """Where a training stage leaves its adapter."""
    return workspace.folder(stage) / ADAPTER


def trained(workspace: Workspace, stage: str, job: "Job") -> Made:
    """Train, or go on from the last checkpoint; StageAborted on what must not end in a bundle."""
    from align.train.arguments import CHECKPOINTS
    from align.train.job import LEFT_OUT_FILE, has_gpu, launch_job, run_apart, run_job

    if not (job.out / LEFT_OUT_FILE).is_file():  # the last that a training writes
        try:
            if workspace.recipe.launch:
                launch_job(job, workspace.recipe.launch)
            elif has_gpu():
                run_apart(job)
            else:
                run_job(job)
        except TrainingFailed as error:
            raise StageAborted(f"{stage}: {error}") from error
    shutil.rmtree(job.out / CHECKPOINTS, ignore_errors=True)
    dropped = list(read_rows(job.out / LEFT_OUT_FILE, Dropped))
    write_rows(workspace.folder(stage) / DROPPED_FILE, dropped)
    with job.rows.open("rb") as file:
        rows = sum(1 for _ in file)
    return Made(rows - len(dropped), counted(dropped), bundle_digest(job.out))
