"""What is measured, by name; every number is of one generated token at one layer."""

from enum import StrEnum


class Metric(StrEnum):
    """Means over heads. The first six are of models with image tokens in their sequence."""

    MASS = "mass"
    """Share of its attention that goes to image tokens, 0 to 1."""
    LIFT = "lift"
    """Mass over the share of image tokens among all it can see: 1 is what even attention would give."""
    MASS_NO_SINKS = "mass_no_sinks"
    """Share of image tokens in the attention that goes to no sink: sinks leave both sides of the ratio."""
    LIFT_NO_SINKS = "lift_no_sinks"
    """That share over the image tokens' share among the tokens that are no sinks."""
    SINKS = "sinks"
    """Attention that goes to sinks of any kind."""
    IMAGE_SINKS = "image_sinks"
    """Attention that goes to image tokens that are sinks; part of the mass."""
    PULL = "pull"
    """Of Mllama, whose picture comes in through cross-attention layers instead: what such a layer adds,
    |tanh(gate)| times the norm of its attention's output, over the norm of what it is added to.
    """
