"""The instrument: replies are written or taken, then every model is measured over them."""

import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from align.attention.cross import cross_layers
from align.attention.measure import Measured, measured, probe_of
from align.attention.models import Models
from align.attention.probe import run_layers
from align.attention.questions import Question
from align.attention.replies import Reply, given, prompt_inputs, write_replies, written
from align.attention.sinks import find_sink_dimensions
from align.attention.summary import RESAMPLES, curve_widths, differences, summary
from align.attention.whose import BASE, GIVEN, OWN
from align.attention.written import Measurement
from align.stages.progress import track
from policies.formats import ReasoningFormat

SINK_PROMPTS = 16
"""Prompts on which the sink dimensions are looked for, on the base model."""


class Instrument:
    """Base and adapters, and what they are asked."""

    def __init__(
        self, models: Models, questions: Sequence[Question], form: ReasoningFormat, max_tokens: int
    ) -> None:
        self._models, self._questions = models, questions
        self._form, self._max_tokens = form, max_tokens
        self._written: dict[str, list[Reply]] = {}

    def measurement(self, text: str, tau: float, out: Path) -> Measurement:
        """Measure every model; `text` says whose replies, `out` is where these are kept."""
        dimensions = self._sink_dimensions(tau)
        replies = {name: self._replies(name if text == OWN else text, out) for name in self._models.names}
        found = {name: self._measured(name, replies[name], dimensions, tau) for name in self._models.names}
        widths = curve_widths([one for every in found.values() for one in every])
        return Measurement(
            method=self._method(text, tau, dimensions),
            layers=probe_of(self._models.model, dimensions, tau).layers,
            models={name: summary(replies[name], found[name], widths) for name in found},
            differences={name: differences(found[BASE], found[name]) for name in found if name != BASE},
        )

    def _sink_dimensions(self, tau: float) -> tuple[int, ...]:
        """On the base model: adapters do not move a massive activation to another dimension."""
        with self._models.as_(BASE) as model:
            if cross_layers(model):
                return ()
            prompts = (self._prompt(one) for one in self._questions[:SINK_PROMPTS])
            layers = list(model.get_decoder().layers)
            return find_sink_dimensions(lambda inputs: run_layers(model, inputs), layers, prompts, tau)

    def _replies(self, writer: str, out: Path) -> list[Reply]:
        """Each writer writes once, and its replies are on the disk before anything is measured."""
        if writer not in self._written:
            self._written[writer] = list(self._writes(writer))
            write_replies(out / f"replies-{writer}.jsonl", self._written[writer])
        return self._written[writer]

    def _writes(self, writer: str) -> Sequence[Reply]:
        processor = self._models.processor
        if writer == GIVEN:
            return [given(processor, question, self._form) for question in self._questions]
        with self._models.as_(writer) as model:
            bar = track(self._questions, f"{writer} replies", len(self._questions))
            return [written(model, processor, question, self._form, self._max_tokens) for question in bar]

    def _measured(
        self, name: str, replies: Sequence[Reply], dimensions: tuple[int, ...], tau: float
    ) -> list[Measured]:
        pairs = list(zip(self._questions, replies, strict=True))
        with self._models.as_(name) as model:
            probe = probe_of(model, dimensions, tau)
            return [
                measured(probe, model, self._prompt(question), reply)
                for question, reply in track(pairs, f"{name} measured", len(pairs))
            ]

    def _prompt(self, question: Question) -> dict[str, Any]:
        return prompt_inputs(self._models.processor, question, self._models.model)

    def _method(self, text: str, tau: float, dimensions: tuple[int, ...]) -> dict[str, Any]:
        return {
            "architecture": type(self._models.model).__name__,
            "text": text,
            "questions": len(self._questions),
            "format": self._form.name,
            "max_tokens": self._max_tokens,
            "tau": tau,
            "sink_dimensions": list(dimensions),
            "sink_prompts": min(SINK_PROMPTS, len(self._questions)),
            "bootstrap_resamples": RESAMPLES,
            "device": self._models.device.type,
            "dtype": str(self._models.model.dtype).removeprefix("torch."),
            "peak_memory_bytes": _peak_memory(self._models.device),
        }


def _peak_memory(device: torch.device) -> int:
    """The most that was taken: of the GPU's memory where there is one, else of this process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB
