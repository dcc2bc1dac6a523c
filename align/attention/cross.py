"""Mllama's picture comes in through gated cross-attention layers: how hard these pull at generated tokens.

There are no image tokens in its sequence, so attention mass on them cannot be measured. Of the layer
`h + tanh(gate) * CrossAttention(h)` this takes the ratio of the two norms at each generated position.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from transformers import PreTrainedModel

from align.attention.metric import Metric
from align.attention.probe import run_layers
from align.attention.sinks import entering


class CrossProbe:
    """Looks into a model with cross-attention layers; the model is left as it was."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._layers = list(model.get_decoder().layers)
        self.layers: tuple[int, ...] = cross_layers(model)
        """Numbers of the cross-attention layers."""
        self._residual: dict[int, torch.Tensor] = {}
        self._added: dict[int, torch.Tensor] = {}
        self._first = 0

    def look(self, inputs: Mapping[str, Any], image: torch.Tensor, first: int) -> dict[Metric, torch.Tensor]:
        """One forward pass; the pull as layers x rows, rows being the positions from `first` on.

        `image` is for models with image tokens and means nothing here.
        """
        self._first = first
        with entering(self._layers, self._keep_residual), self._leaving_attention():
            run_layers(self._model, inputs)
        pulls = [self._added.pop(number) / self._residual[number] for number in self.layers]
        self._residual.clear()
        return {Metric.PULL: torch.stack(pulls)}

    def _keep_residual(self, number: int, hidden: torch.Tensor) -> None:
        self._residual[number] = _norms(hidden[self._first :])

    @contextmanager
    def _leaving_attention(self) -> Iterator[None]:
        handles = [
            self._layers[number].cross_attn.register_forward_hook(
                lambda _, __, output, number=number: self._keep_added(number, output[0][0])
            )
            for number in self.layers
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _keep_added(self, number: int, output: torch.Tensor) -> None:
        gate = self._layers[number].cross_attn_attn_gate.float().tanh().abs().cpu()
        self._added[number] = gate * _norms(output[self._first :])


def cross_layers(model: PreTrainedModel) -> tuple[int, ...]:
    """Numbers of a model's cross-attention layers; none where the picture is in the sequence."""
    layers = enumerate(model.get_decoder().layers)
    return tuple(number for number, layer in layers if hasattr(layer, "cross_attn"))


def _norms(hidden: torch.Tensor) -> torch.Tensor:
    norms: torch.Tensor = hidden.float().norm(dim=-1).cpu()
    return norms
