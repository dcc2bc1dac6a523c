"""How much attention generated tokens pay to the picture, layer by layer, without keeping a layer's weights.

The model runs once over prompt and reply. Its language layers attend through a function of ours, which
gives what SDPA gives and beside it weighs the rows of generated tokens: a few rows at a time, in float32,
reduced at once to some sums per row. So H x T x T weights never exist, let alone L of them.

Row t is the attention of the token at position t, over itself and what stands before it, averaged over
heads (as MLRM-Halu does, arXiv 2505.21523, there for the prompt's last token only).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from align.attention.metric import Metric
from align.attention.sinks import entering, sink_tokens
from align.errors import RecipeError

IMPLEMENTATION = "groundrule_probe"
ROWS_BYTES = 64 << 20
"""What the weights of the rows under way may take; a softmax holds about three times as much."""
_CHANGES_WEIGHTS = ("softcap", "s_aux", "position_bias")
"""What some architectures put into their attention besides scores and mask: not read here."""


class Probe:
    """Looks into a model that has image tokens in its sequence; the model is left as it was."""

    def __init__(
        self,
        model: PreTrainedModel,
        sink_dimensions: tuple[int, ...],
        tau: float,
        rows_bytes: int = ROWS_BYTES,
    ) -> None:
        self._model = model
        self._dimensions, self._tau, self._rows_bytes = sink_dimensions, tau, rows_bytes
        self._layers = list(model.get_decoder().layers)
        attending = [number for number, layer in enumerate(self._layers) if hasattr(layer, "self_attn")]
        self.layers: tuple[int, ...] = tuple(attending)
        """Numbers of the layers that are measured."""
        self._number = {self._layers[number].self_attn: number for number in attending}
        self._sinks: dict[int, torch.Tensor] = {}
        self._sums: dict[int, torch.Tensor] = {}
        self._image = torch.empty(0, dtype=torch.bool)
        self._first = 0

    def look(self, inputs: Mapping[str, Any], image: torch.Tensor, first: int) -> dict[Metric, torch.Tensor]:
        """One forward pass; each metric as layers x rows, NaN where it is not defined.

        `inputs` is one sequence, prompt and reply; `image` marks its image tokens (T booleans); rows are
        its positions from `first` on.
        """
        self._image, self._first = image, first
        with _attending(self._model, self._attend), entering(self._layers, self._find_sinks):
            run_layers(self._model, inputs)
        if missing := [number for number in self.layers if number not in self._sums]:
            raise RecipeError(
                f"layers {missing} of {type(self._model).__name__} attend by code of their own: not measured"
            )
        sums = torch.stack([self._sums.pop(number) for number in self.layers])
        self._sinks.clear()
        return _metrics(sums)

    def _find_sinks(self, number: int, hidden: torch.Tensor) -> None:
        self._sinks[number] = sink_tokens(hidden, self._dimensions, self._tau)

    def _attend(
        self,
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        **options: Any,
    ) -> tuple[torch.Tensor, None]:
        """Attention as ever; where the module is a language layer's, its rows are summed on the way."""
        if module in self._number:
            if found := [name for name in _CHANGES_WEIGHTS if options.get(name) is not None]:
                raise RecipeError(
                    f"{type(module).__name__} weighs with {found[0]}, which is not measured yet"
                )
            number = self._number[module]
            self._sums[number] = self._summed(number, query, key, attention_mask, options.get("scaling"))
        attended: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, **options
        )
        return attended

    def _summed(
        self,
        number: int,
        query: torch.Tensor,
        key: torch.Tensor,
        mask: torch.Tensor | None,
        scaling: float | None,
    ) -> torch.Tensor:
        """Rows x (weights then counts) x (all, image, no sink, image and no sink)."""
        heads, length = query.shape[1], key.shape[2]
        plain = ~self._sinks[number]
        kinds = (torch.ones_like(plain), self._image, plain, self._image & plain)
        columns = torch.stack(kinds, 1).float()
        step = max(1, self._rows_bytes // (4 * heads * length))
        keys = key[0].float()
        found = []
        for start in range(self._first, length, step):
            rows = slice(start, min(start + step, length))
            seen = visible(mask, rows, length, key.device)
            weights = row_weights(query[0, :, rows], keys, seen, scaling)
            found.append(torch.stack((weights @ columns, seen.float() @ columns), 1).cpu())
        return torch.cat(found)


def row_weights(
    query: torch.Tensor, keys: torch.Tensor, seen: torch.Tensor, scaling: float | None
) -> torch.Tensor:
    """Attention weights averaged over heads, rows x T; several query heads may share a key head (GQA)."""
    heads, rows, width = query.shape
    grouped = query.float().reshape(keys.shape[0], -1, width)
    scores = grouped @ keys.transpose(1, 2) * (width**-0.5 if scaling is None else scaling)
    scores = scores.view(heads, rows, -1).masked_fill_(~seen, -torch.inf)
    return scores.softmax(-1).mean(0)


def visible(mask: torch.Tensor | None, rows: slice, length: int, device: torch.device) -> torch.Tensor:
    """Which positions the rows can see, rows x T: a sliding window's mask, or all up to the row itself."""
    if mask is not None:
        return mask[0, 0, rows, :length]
    places = torch.arange(length, device=device)
    return places[None, :] <= places[rows, None]


def run_layers(model: PreTrainedModel, inputs: Mapping[str, Any]) -> None:
    """One pass without the language head, which would take T x vocabulary floats for nothing."""
    with torch.inference_mode():
        model.model(**inputs, use_cache=False)


def _metrics(sums: torch.Tensor) -> dict[Metric, torch.Tensor]:
    (_, image, plain, plain_image), (n, n_image, n_plain, n_plain_image) = sums.double().permute(2, 3, 0, 1)
    mass, without = image, _ratio(plain_image, plain)
    values = {
        Metric.MASS: mass,
        Metric.LIFT: _ratio(mass, n_image / n),
        Metric.MASS_NO_SINKS: without,
        Metric.LIFT_NO_SINKS: _ratio(without, _ratio(n_plain_image, n_plain)),
        Metric.SINKS: (1 - plain).clamp(min=0),
        Metric.IMAGE_SINKS: (image - plain_image).clamp(min=0),
    }
    return {metric: found.float() for metric, found in values.items()}


def _ratio(part: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    """NaN over nothing: a row that cannot see the picture has no lift, which is not a lift of 0."""
    return torch.where(whole > 0, part / whole, torch.nan)


@contextmanager
def _attending(model: PreTrainedModel, function: Any) -> Iterator[None]:
    """While it lasts, the language layers attend through `function`; the vision tower is let alone."""
    text, before = model.config.get_text_config(), model.config.get_text_config()._attn_implementation
    ALL_ATTENTION_FUNCTIONS[IMPLEMENTATION] = function
    AttentionMaskInterface.register(IMPLEMENTATION, sdpa_mask)
    names = [name for name in model.config.sub_configs if getattr(model.config, name) is text]
    model.set_attn_implementation({names[0]: IMPLEMENTATION} if names else IMPLEMENTATION)
    try:
        yield
    finally:
        model.set_attn_implementation({names[0]: before} if names else before)
        del ALL_ATTENTION_FUNCTIONS[IMPLEMENTATION]
