"""The recipe of the lab's own base model: how its eyes and its unaligned reasoner are trained."""

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import PositiveFloat, PositiveInt, ValidationError

from align.errors import RecipeError
from align.table import Share, Table
from align.training_tables import Sft

DEFAULT_RECIPE = Path(__file__).parents[1] / "recipes" / "mini-base.toml"


class Eyes(Table):
    """The vision tower, trained by `align/mini/eyes.py`."""

    seed: int
    steps: PositiveInt
    batch: PositiveInt
    """Scenes per step; every step draws new ones."""
    muon_learning_rate: PositiveFloat
    """For the matrices of the blocks."""
    adam_learning_rate: PositiveFloat
    """For everything else."""
    warmup_steps: PositiveInt
    decay_share: Share
    """Last part of the run over which the learning rates fall to zero."""
    precision: Literal["bf16", "float32"]
    """bf16: products in bfloat16, weights in float32."""


class Mix(Table):
    """Of how many rows in a round each kind has; a round has as many rows as they have together."""

    situations: PositiveInt
    """Requests of the lab's world, every one complied with."""
    sides: PositiveInt
    """On which side a thing is (`align/mini/questions.py`)."""
    layouts: PositiveInt
    """Where everything is."""
    presence: PositiveInt
    """Whether a thing is there."""
    signs: PositiveInt
    """What a sign asks for."""
    consequences: PositiveInt
    """What can come of a deed (`align/mini/consequences.py`): knowledge of the world."""


class Reasoner(Table):
    """The unaligned reasoner: situations whose every request, harmful or not, is complied with."""

    split: str
    count: PositiveInt
    mix: Mix
    sft: Sft


class LabRecipe(Table):
    eyes: Eyes
    reasoner: Reasoner


def load_lab_recipe(path: Path = DEFAULT_RECIPE) -> LabRecipe:
    """Read the recipe; RecipeError names what is wrong with it."""
    try:
        return LabRecipe.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise RecipeError(f"{path}: {error}") from None
