"""What both trainers watch: that every loss and gradient is a number, and which rows made one that is not."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl.trainer import utils as trl_utils

from align.train.errors import TrainingFailed
from align.train.rows import ROW_NUMBERS


class Watched(Trainer):  # type: ignore[misc]  # transformers is untyped here
    """Mixed into one of TRL's trainers, before it."""

    rows_of_step: Sequence[int] = ()
    """Numbers of the rows that the optimizer's next step comes from, in this process."""

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """As TRL's; TrainingFailed where the loss is no number, before any weight moves by it."""
        numbers = inputs.pop(ROW_NUMBERS)
        self.rows_of_step = [*self.rows_of_step, *numbers.tolist()]
        with _scoring_completions_only():
            loss = super().compute_loss(model, inputs, *args, **kwargs)
        value = float((loss[0] if isinstance(loss, tuple) else loss).detach())
        if not math.isfinite(value):
            step, rows = self.state.global_step + 1, self.named(numbers.tolist())
            raise TrainingFailed(
                f"the loss is {value} at step {step}, on {rows}: "
                "look at these rows, or lower the learning rate"
            )
        return loss

    def _send_telemetry(self) -> None:
        """TRL reports each training to its makers' hub; ours are nobody's business."""

    def named(self, numbers: Sequence[int]) -> str:
        """Rows by their ids, for a message."""
        return "rows " + ", ".join(self.train_dataset[number]["id"] for number in numbers)


class GradientWatch(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Stops before a step whose gradient is no number would spoil every weight."""

    def __init__(self, trainer: Watched) -> None:
        self._trainer = trainer

    def on_pre_optimizer_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: torch.nn.Module | None = None,
        **_: object,
    ) -> None:
        assert model is not None  # the trainer always gives it
        for name, parameter in model.named_parameters():
            if parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all()):
                raise TrainingFailed(
                    f"the gradient of {name} is not finite at step {state.global_step + 1}, on "
                    f"{self._trainer.named(self._trainer.rows_of_step)}: look at these rows, or lower the "
                    "learning rate"
                )
        self._trainer.rows_of_step = ()


class EarlyEnd(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Ends after so many steps, the schedule being that of the whole run."""

    def __init__(self, steps: int) -> None:
        self._steps = steps

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        if state.global_step >= self._steps:
            control.should_training_stop = True


@contextmanager
def _scoring_completions_only() -> Iterator[None]:
    """Where there is no Triton, TRL 1.16's fused head scores every position; on a CPU that is half a step.

    It does so for devices that would compile anew for every shape. CPUs do not.
    """
    usual = trl_utils._use_triton
    trl_utils._use_triton = lambda device: device.type == "cpu" or usual(device)
    try:
        yield
    finally:
        trl_utils._use_triton = usual
