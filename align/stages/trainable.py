"""What would make a training impossible, asked before any teacher is paid."""

from importlib.util import find_spec

from align.errors import RecipeError
from align.stages.base_model import check_base
from align.stages.workspace import Workspace
from align.train.errors import TrainingFailed


def check_training(workspace: Workspace) -> None:
    """RecipeError where the base, the way to launch, or what is to be installed does not allow it."""
    recipe = workspace.recipe
    for name, stage in (("sft", recipe.sft), ("srpo", recipe.srpo)):
        if stage and stage.tensorboard and find_spec("tensorboard") is None:
            raise RecipeError(f"[{name}] tensorboard = true needs the package: uv pip install tensorboard")
    if recipe.launch:
        from align.train.job import config_file

        try:
            config_file(recipe.launch)
        except TrainingFailed as error:
            raise RecipeError(f"[launch] {error}") from error
    check_base(workspace)
