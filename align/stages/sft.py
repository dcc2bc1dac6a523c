"""Supervised fine-tuning as a stage: training rows in, an adapter out."""

import shutil

from align.errors import StageAborted
from align.records import SftRow
from align.stages import select
from align.stages.base_model import base_directory
from align.stages.workspace import Made, Workspace
from policies.bundle import bundle_digest

STAGE = "sft"
ADAPTER = "adapter"


def make(workspace: Workspace) -> Made:
    """Train from the first step: an interrupted training leaves nothing that could be gone on with."""
    from align.train.sft import TrainingFailed, train_adapter  # imports torch

    training = list(workspace.rows(select.STAGE, SftRow))
    base = base_directory(workspace)
    adapter = workspace.folder(STAGE) / ADAPTER
    shutil.rmtree(adapter, ignore_errors=True)
    try:
        train_adapter(training, workspace.directory, workspace.recipe.sft, base, adapter)
    except TrainingFailed as error:
        raise StageAborted(f"{STAGE}: {error}") from error
    return Made(len(training), result_digest=bundle_digest(adapter))
