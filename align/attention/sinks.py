"""Attention sinks: tokens that draw attention because attention must go somewhere.

The rule is VisAttnSink's (Kang et al., ICLR 2025, "See What You Are Told"): a token is a sink at a layer
where the hidden state that enters the layer, divided by its own root mean square, exceeds tau = 20 in one
of the model's sink dimensions. Those dimensions are the model's "massive activations" (Sun et al., 2024):
the paper names them for Llama 2 (1415 and 2533 for 7B); for any other model they are found here, which is
our own rule: a dimension that exceeds tau, at any layer and token, in at least half of the prompts looked at.
A value so divided is at most the square root of the width, so a narrow model needs a larger share of its
energy in one dimension to reach the same tau.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

TAU = 20.0
"""The paper's threshold."""
SHARE = 0.5
"""Of the prompts that a dimension must stand out in."""


def find_sink_dimensions(
    decode: Callable[[Mapping[str, Any]], None],
    layers: Sequence[torch.nn.Module],
    prompts: Iterable[Mapping[str, Any]],
    tau: float = TAU,
) -> tuple[int, ...]:
    """The sink dimensions of a model, found on `prompts`; empty where it has none at this tau.

    `decode` runs the model once over inputs of one sequence.
    """
    counts: list[torch.Tensor] = []
    for prompt in prompts:
        counts.append((_highest(decode, layers, prompt) > tau).cpu())
    if not counts:
        return ()
    share = torch.stack(counts).float().mean(0)
    return tuple(int(place) for place in (share >= SHARE).nonzero())


def _highest(
    decode: Callable[[Mapping[str, Any]], None], layers: Sequence[torch.nn.Module], prompt: Mapping[str, Any]
) -> torch.Tensor:
    """The largest value of each dimension over a prompt's tokens and layers."""
    found: list[torch.Tensor] = []
    with entering(layers, lambda _, hidden: found.append(normed(hidden).amax(0))):
        decode(prompt)
    return torch.stack(found).amax(0)


def sink_tokens(hidden: torch.Tensor, dimensions: Sequence[int], tau: float) -> torch.Tensor:
    """Which of the tokens of a sequence (T x width) are sinks, as T booleans."""
    if not dimensions:
        return torch.zeros(hidden.shape[0], dtype=torch.bool, device=hidden.device)
    return normed(hidden)[:, list(dimensions)].amax(-1) > tau


def normed(hidden: torch.Tensor) -> torch.Tensor:
    """Magnitudes in units of each token's own root mean square."""
    values = hidden.float()
    magnitudes: torch.Tensor = values.abs() * torch.rsqrt(values.square().mean(-1, keepdim=True) + 1e-6)
    return magnitudes


@contextmanager
def entering(layers: Sequence[torch.nn.Module], look: Callable[[int, torch.Tensor], None]) -> Iterator[None]:
    """While it lasts, `look` gets each layer's number and the hidden states that enter it (T x width)."""

    def hook(number: int) -> Callable[..., None]:
        def before(_: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            look(number, (args[0] if args else kwargs["hidden_states"])[0])

        return before

    handles = [
        layer.register_forward_pre_hook(hook(number), with_kwargs=True) for number, layer in enumerate(layers)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
