"""The same budget for rows of another number: as many optimizer steps of the same size.

How often a row is seen differs then, and nothing else.
"""

import math
from typing import TypeVar

from align.training_tables import Training

TrainingT = TypeVar("TrainingT", bound=Training)


def steps(settings: Training, rows: int) -> int:
    """Optimizer steps of a training on so many rows, as transformers counts them."""
    return math.ceil(settings.epochs * _steps_of_an_epoch(settings, rows))


def same_steps(settings: TrainingT, rows: int, as_with: int) -> TrainingT:
    """The settings with which `rows` rows take as many steps as these take with `as_with` rows."""
    if rows == as_with:
        return settings
    wanted, of_an_epoch = steps(settings, as_with), _steps_of_an_epoch(settings, rows)
    epochs = wanted / of_an_epoch
    while math.ceil(epochs * of_an_epoch) > wanted:  # rounding may end just above a whole number
        epochs = math.nextafter(epochs, 0.0)
    return settings.model_copy(update={"epochs": epochs})


def _steps_of_an_epoch(settings: Training, rows: int) -> int:
    return math.ceil(rows / settings.batch_size)
