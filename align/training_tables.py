"""The tables of a recipe that say how adapters are trained: PST's stage 1 (SFT) and stage 2 (SRPO)."""

import re
from typing import Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from align.table import Share, Table

PreferenceLoss = Literal[
    "sigmoid", "sigmoid_norm", "hinge", "ipo", "robust", "apo_zero", "apo_down", "bco_pair", "sft"
]
"""TRL's names (1.16): `sigmoid` is DPO's own, `sigmoid_norm` that per token, `sft` the chosen's mean NLL."""


class Training(Table):
    """What both stages have."""

    without_effect_on_rows = frozenset(
        {"micro_batch_size", "checkpoint_steps", "gradient_checkpointing", "tensorboard"}
    )

    seed: int
    learning_rate: PositiveFloat
    epochs: PositiveFloat
    batch_size: PositiveInt
    """Rows, or pairs, of one optimizer step: over all processes and accumulated micro-batches."""
    micro_batch_size: PositiveInt | None = None
    """Of them, how many a process holds at once; all of its part where left out. Fewer need less memory."""
    scheduler: Literal["cosine", "linear", "constant_with_warmup"] = "cosine"
    warmup_share: Share
    weight_decay: NonNegativeFloat = 0.0
    max_grad_norm: PositiveFloat = 1.0
    max_tokens: PositiveInt = 4096
    """Of a row with its picture, prompt and reply. What is longer is dropped and counted, never cut."""
    max_dropped_share: Share = 0.1
    precision: Literal["bf16", "float32"]
    """Of products."""
    base_weights: Literal["bf16", "float32"] = "float32"
    """Of the frozen base; the adapter is trained in float32."""
    gradient_checkpointing: bool | None = None
    """Computes activations twice instead of keeping them; on a GPU only where left out."""
    checkpoint_steps: PositiveInt = 50
    """A killed training goes on from the last checkpoint."""
    tensorboard: bool = False
    """Write its event files beside the curve."""


class Sft(Training):
    """Stage 1 of PST: LoRA by supervised fine-tuning (`align/train/sft.py`)."""

    base: str = Field(min_length=1)
    """`mini` for the lab's base model, or the directory of a checkpoint."""
    rank: PositiveInt
    alpha: PositiveInt
    dropout: Share
    rslora: bool = False
    """Scale by alpha over the root of the rank (rsLoRA), for high ranks."""
    target_modules: str | None = None
    """A regular expression over module names, language layers only; the architecture's own where left out."""

    @field_validator("target_modules")
    @classmethod
    def _is_a_pattern(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from None
        return pattern


class Srpo(Training):
    """Stage 2 of PST: preference optimization on chosen and rejected reasoning (`align/train/srpo.py`).

    It goes on with stage 1's adapter; a frozen copy of that is the reference.
    """

    beta: PositiveFloat = 0.1
    losses: dict[PreferenceLoss, PositiveFloat] = Field(default={"sigmoid": 1.0}, min_length=1)
    """Weights by name."""
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    """How often a pair may be the wrong way round; of the loss `robust` only (TRL 1.16)."""
    ld_alpha: Share | None = None
    """LD-DPO: weight of what the longer reply says beyond the length of the shorter."""

    @model_validator(mode="after")
    def _losses_fit(self) -> Self:
        if set(self.losses) == {"sft"}:
            raise ValueError("losses: `sft` alone compares nothing, name a preference loss beside it")
        if ("robust" in self.losses) != bool(self.label_smoothing):
            raise ValueError("label_smoothing above 0 and the loss `robust` go together")
        return self


class Launch(Table):
    """Several processes for both stages, by `accelerate launch`."""

    without_effect_on_rows = frozenset({"config", "processes"})

    config: str = Field(min_length=1)
    """`ddp`, `fsdp` or `deepspeed` as packaged in `align/train/launch`, or a file of `accelerate config`."""
    processes: PositiveInt
