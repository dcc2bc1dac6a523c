"""The replies of finished logs as samples of a new task: judged again, asked of no model.

A replayed sample keeps its id, question, picture and metadata; its recorded output travels in the
metadata, and the solver puts it where a model's would be. What is made of it is the task's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from inspect_ai.dataset import Sample
from inspect_ai.log import EvalSample, read_eval_log
from inspect_ai.model import ChatMessageUser, ContentImage, ModelOutput
from inspect_ai.solver import Generate, Solver, TaskState, solver

from align.errors import RecipeError

OUTPUT = "replayed"
"""Key of the recorded output in a sample's metadata."""
ASKED_OF = "none/none"
"""Inspect's model that cannot be asked: a replay needs none."""
REMARKS = "remarks"
"""Key of a task's metadata: sentences that a reader must know beside its numbers."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A finished log."""

    task: str
    model: str
    samples: Mapping[str | int, EvalSample]


def recorded(log: str) -> Recorded:
    """Read a log; RecipeError where it is no finished one with one reply per sample, pictures included."""
    try:
        # What the models and judges did to get there is most of a log, and is not needed.
        found = read_eval_log(log, resolve_attachments=True, exclude_fields={"events", "store"})
    except (OSError, ValueError) as error:
        raise RecipeError(f"{log}: cannot be read as a log of inspect: {error}") from None
    if found.status != "success" or not found.samples:
        raise RecipeError(f"{log}: is not finished ({found.status}): run that evaluation again to its end")
    samples = {sample.id: sample for sample in found.samples}
    if len(samples) < len(found.samples):
        raise RecipeError(f"{log}: has several epochs: replay a log with one reply per sample")
    for sample in found.samples:
        _check_picture(log, sample)
    return Recorded(found.eval.task, found.eval.model, MappingProxyType(samples))


def as_sample(sample: EvalSample, **metadata: Any) -> Sample:
    """The recorded sample with its output, and whatever else the task needs to know."""
    return Sample(
        id=sample.id,
        input=sample.input,
        target=sample.target,
        metadata=sample.metadata | {OUTPUT: sample.output.model_dump(mode="json")} | metadata,
    )


def asks(sample: EvalSample) -> Any:
    """What a recorded sample asks, to be compared: messages get a new id in every log."""
    if isinstance(sample.input, str):
        return sample.input
    return [(message.role, message.content) for message in sample.input]


@solver
def replay() -> Solver:
    """Put the recorded output in the place of a model's."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        state.output = ModelOutput.model_validate(state.metadata[OUTPUT])
        if not state.output.empty:
            state.messages.append(state.output.message)
        return state

    return solve


def _check_picture(log: str, sample: EvalSample) -> None:
    asked = sample.input if isinstance(sample.input, list) else []
    contents = (message.content for message in asked if isinstance(message, ChatMessageUser))
    parts = (part for content in contents if isinstance(content, list) for part in content)
    if any(isinstance(part, ContentImage) and not part.image.startswith(_PICTURES) for part in parts):
        raise RecipeError(f"{log}: sample {sample.id} has no picture: evaluate with log_images on")


_PICTURES = ("data:", "http://", "https://")
