"""One training from its first step, or its last checkpoint, to an adapter on disk."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from align.stages.progress import progress
from align.train.adapter import check_language_only, save_adapter, whole_adapter
from align.train.arguments import last_checkpoint
from align.train.curve import steps_of, write_csv, write_curve
from align.train.disk import disk_faults
from align.train.errors import TrainingFailed
from align.train.memory import LESS
from align.train.precision import advice, bf16_is_emulated
from align.train.rows import RowUnusable
from align.train.watched import EarlyEnd, GradientWatch, Watched


def run_session(trainer: Watched, out: Path, label: str, stop_after: int | None = None) -> list[float]:
    """Train, and leave adapter and curve in `out`; the loss per step.

    TrainingFailed on a loss or gradient that is no number; checkpoints stay then. OSError on a full disk.
    """
    check_language_only(trainer.accelerator.unwrap_model(trainer.model))
    if trainer.args.bf16 and trainer.is_world_process_zero() and bf16_is_emulated():
        sys.stderr.write(advice(label))
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(GradientWatch(trainer))
    if stop_after is not None:
        trainer.add_callback(EarlyEnd(stop_after))
    with _Shown(label, out) as shown, disk_faults(out), _memory_told(), _plainly_told():
        trainer.add_callback(shown)
        trainer.train(resume_from_checkpoint=last_checkpoint(out))
        model = trainer.accelerator.unwrap_model(trainer.model)
        whole = whole_adapter(model)
        if trainer.args.should_save:
            save_adapter(model, whole, out)
    steps = steps_of(trainer.state.log_history)
    if trainer.args.should_save:
        write_curve(steps, out)
    trainer.accelerator.wait_for_everyone()
    return [step["loss"] for step in steps]


class _Shown(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """A bar with the time that is left and the last loss; the curve so far, at every checkpoint."""

    def __init__(self, label: str, out: Path) -> None:
        self._label = label
        self._out = out
        self._stack = ExitStack()
        self._told = ""

    def __enter__(self) -> "_Shown":
        return self

    def __exit__(self, *fault: object) -> None:
        self._stack.close()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        if state.is_world_process_zero:
            bar = progress(
                self._label, state.max_steps, status=lambda: self._told, completed=state.global_step
            )
            self._advance = self._stack.enter_context(bar)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        if state.is_world_process_zero:
            self._advance()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: object,
    ) -> None:
        if logs and "loss" in logs:
            margin = f", margin {logs['rewards/margins']:.3f}" if "rewards/margins" in logs else ""
            self._told = f"loss {logs['loss']:.4f}{margin}"

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        if state.is_world_process_zero:
            write_csv(steps_of(state.log_history), self._out)
            if not sys.stderr.isatty():  # where a bar would show at its end only
                sys.stderr.write(
                    f"{self._label}: step {state.global_step} of {state.max_steps}, {self._told}\n"
                )


@contextmanager
def _memory_told() -> Iterator[None]:
    """A GPU that is full in the middle of a training, with what would help."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingFailed(f"the GPU's memory did not suffice ({error}): {LESS}") from error


@contextmanager
def _plainly_told() -> Iterator[None]:
    """A row's fault without the trace that a loader's process puts around it."""
    try:
        yield
    except RowUnusable as error:
        told = str(error).rstrip().splitlines()[-1].rpartition(f"{RowUnusable.__name__}: ")[2]
        raise RowUnusable(told) from None
