"""The base model that a recipe trains on: a checkpoint of the user's, or the lab's own, built when needed."""

from functools import cache
from pathlib import Path

from align.errors import RecipeError
from align.manifest import file_digest
from align.mini.trained import BASE_ADAPTER, TOWER
from align.recipe import digest_of
from align.stages.workspace import Workspace
from align.train.bases import kind_of
from align.train.errors import TrainingFailed
from policies.bundle import CONFIG_FILE, WEIGHTS_FILE

MINI = "mini"


def check_base(workspace: Workspace) -> None:
    """RecipeError, before any work, where there is no base model, or none that can learn what is taught."""
    _check_there(workspace)
    base = workspace.recipe.sft.base
    if base == MINI:
        return
    from align.train.base import prepared  # imports torch

    try:
        prepared(Path(base), workspace.recipe.trajectories.reasoning_format)
    except (TrainingFailed, OSError, ValueError) as error:  # transformers', where files are missing or broken
        why = " ".join(str(error).split())
        raise RecipeError(f"[sft] base = {base!r} cannot be trained: {why}") from error


def base_is_merged(workspace: Workspace) -> bool:
    """Whether engines load no adapter for the base's architecture."""
    _check_there(workspace)
    base = workspace.recipe.sft.base
    if base == MINI:
        return False
    try:
        return kind_of(Path(base)).served_as == "merged"
    except TrainingFailed as error:
        raise RecipeError(f"[sft] {error}") from error


def _check_there(workspace: Workspace) -> None:
    base = workspace.recipe.sft.base
    if base == MINI:
        check_weights()
    elif not (Path(base) / "config.json").is_file():
        raise RecipeError(f"[sft] base = {base!r}: no config.json there, so it is not a model directory")


def base_directory(workspace: Workspace) -> Path:
    """Where the base model lies; the lab's is built into the run directory."""
    base = workspace.recipe.sft.base
    if base != MINI:
        return Path(base)
    build_mini_base(workspace.folder("base"))
    return workspace.folder("base")


def base_digest(workspace: Workspace) -> str:
    """SHA-256 over what decides the base model: the lab's trained weights, or the checkpoint's files."""
    _check_there(workspace)
    base = workspace.recipe.sft.base
    if base == MINI:
        files = [TOWER, BASE_ADAPTER / CONFIG_FILE, BASE_ADAPTER / WEIGHTS_FILE]
    else:
        files = [path for path in Path(base).iterdir() if path.is_file() and _is_of_the_model(path)]
    found = ((path.name, path, path.stat()) for path in files)
    return digest_of({name: _digest(path, stat.st_size, stat.st_mtime_ns) for name, path, stat in found})


def _is_of_the_model(path: Path) -> bool:
    return path.suffix != ".md" and not path.name.startswith(".")


@cache
def _digest(path: Path, size: int, modified_ns: int) -> str:
    """Of a file that is read once for each state it is in: a checkpoint may have tens of gigabytes."""
    return file_digest(path)


def base_id(workspace: Workspace) -> str:
    """What the base model is called in a bundle."""
    from align.mini.base import BASE_ID  # imports torch

    base = workspace.recipe.sft.base
    return BASE_ID if base == MINI else Path(base).name


def build_mini_base(directory: Path) -> bool:
    """Write the lab's checkpoint; False if it was there already."""
    check_weights()
    from align.mini.base import save_base  # imports torch

    return save_base(directory, TOWER, BASE_ADAPTER)


def check_weights() -> None:
    """RecipeError where the lab's trained weights are missing."""
    if missing := [path.name for path in (TOWER, BASE_ADAPTER) if not path.exists()]:
        raise RecipeError(
            f"the lab's trained weights are missing ({', '.join(missing)} in align/mini/weights): "
            "restore them from the repository, or train them with `python -m align mini train`"
        )
