"""One reply measured: its generated tokens averaged by section, and where in the section they stand."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from align.attention.cross import CrossProbe, cross_layers
from align.attention.metric import Metric
from align.attention.probe import Probe
from align.attention.replies import Reply, with_reply
from align.attention.sections import Section, Split
from align.errors import RecipeError

Values = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class Measured:
    """One reply's numbers; a section that it has not is missing, and what is not defined is NaN."""

    question: str
    by_layer: Mapping[Section, Mapping[Metric, Values]]
    """Means over the section's tokens, one for each measured layer."""
    by_position: Mapping[Section, Mapping[Metric, Values]]
    """Means over layers, one for each of the section's tokens in order."""


def probe_of(model: PreTrainedModel, sink_dimensions: tuple[int, ...], tau: float) -> Probe | CrossProbe:
    """What can look into this architecture."""
    return CrossProbe(model) if cross_layers(model) else Probe(model, sink_dimensions, tau)


def measured(
    probe: Probe | CrossProbe, model: PreTrainedModel, prompt: Mapping[str, Any], reply: Reply
) -> Measured:
    """Run the model over prompt and reply. An empty reply has no section at all."""
    if reply.split is Split.EMPTY:
        return Measured(reply.question, {}, {})
    inputs = with_reply(prompt, reply.tokens)
    first = prompt["input_ids"].shape[1]
    image = image_tokens(model, prompt, inputs)
    found = {metric: values.numpy() for metric, values in probe.look(inputs, image, first).items()}
    rows = _rows(reply)
    return Measured(
        reply.question,
        {section: {m: mean(v[:, at], 1) for m, v in found.items()} for section, at in rows.items()},
        {section: {m: mean(v[:, at], 0) for m, v in found.items()} for section, at in rows.items()},
    )


def image_tokens(
    model: PreTrainedModel, prompt: Mapping[str, Any], inputs: Mapping[str, Any]
) -> torch.Tensor:
    """Which positions stand for patches of the picture; the marks around them do not."""
    ids = inputs["input_ids"][0]
    if cross_layers(model):
        return torch.zeros_like(ids, dtype=torch.bool)
    token = getattr(model.config, "image_token_id", None)
    if token is None:
        raise RecipeError(f"{type(model).__name__} names no image_token_id: its attention is not measured")
    image: torch.Tensor = ids == token
    if not image.any():
        raise RecipeError("the prompt holds no image tokens: does the chat template show pictures?")
    if image[prompt["input_ids"].shape[1] :].any():
        raise RecipeError("a reply holds an image token, behind which is no picture: it cannot be measured")
    return image


def mean(values: Values, axis: int) -> Values:
    """Mean of what is defined; NaN where nothing is."""
    known = np.isfinite(values)
    count = known.sum(axis)
    total = np.where(known, values, 0).sum(axis, dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def _rows(reply: Reply) -> dict[Section, list[int]]:
    """Where each section's tokens stand in the reply; thinking and answer only where there are both."""
    rows = {Section.ALL: list(range(len(reply.tokens)))}
    if reply.split is Split.WHOLE:
        for section in (Section.THINK, Section.ANSWER):
            rows[section] = [place for place, one in enumerate(reply.sections) if one is section]
    return rows
