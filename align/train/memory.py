"""What a training needs of memory, said before it begins rather than by a failure in the middle of a night.

An estimate by counting what must be kept: it has no room for fragmentation, so it is compared with what is
free after a margin. `tests/align/test_bench_training.py` measures it against the peak.
"""

from dataclasses import dataclass, fields
from pathlib import Path

import torch

from align.train.errors import TrainingFailed

MARGIN = 1.1
LESS = 'lower micro_batch_size or max_tokens, set gradient_checkpointing = true or base_weights = "bf16"'
GIB = 1 << 30
_FLOAT = 4
_ADAM_BYTES = 4 * _FLOAT
"""Per trained number: itself, its gradient, and Adam's two moments, all in float32."""
_HEAD_TILE = 4096 * 32768 * _FLOAT
"""TRL's fused head scores 4,096 positions against a part of the vocabulary at a time."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes."""

    base_weights: int
    adapters: int
    activations: int
    head: int

    @property
    def total(self) -> int:
        return sum(getattr(self, part.name) for part in fields(self))

    def __str__(self) -> str:
        parts = (
            f"{part.name.replace('_', ' ')} {getattr(self, part.name) / GIB:.1f}" for part in fields(self)
        )
        return f"{self.total / GIB:.1f} GiB ({', '.join(parts)})"


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a base model: what memory depends on."""

    parameters: int
    lora_parameters_per_rank: int
    layers: int
    hidden: int
    intermediate: int


def estimate(
    shape: Shape, *, rank: int, adapters: int, tokens: int, weight_bytes: int, product_bytes: int, twice: bool
) -> Estimate:
    """For `tokens` in one pass. `twice`: activations are computed again instead of kept (checkpointing).

    Kept for a token in a layer: eight vectors as wide as the model (norms, projections, attention) and four
    as wide as its feed-forward part. Attention's own matrices are not kept by scaled_dot_product_attention.
    """
    trained = shape.lora_parameters_per_rank * rank
    layer = 8 * shape.hidden + 4 * shape.intermediate
    kept = shape.layers * shape.hidden + layer if twice else shape.layers * layer
    return Estimate(
        base_weights=shape.parameters * weight_bytes,
        adapters=trained * (_ADAM_BYTES + (adapters - 1) * _FLOAT),
        activations=kept * tokens * product_bytes,
        head=_HEAD_TILE,
    )


def check(needed: Estimate, free: int, where: str) -> None:
    """TrainingFailed, with the estimate and what would help, where it does not fit."""
    if needed.total * MARGIN > free:
        raise TrainingFailed(
            f"this training needs about {needed} and {where} has {free / GIB:.1f} GiB free: {LESS}"
        )


def free_memory() -> tuple[int, str]:
    """Bytes that a training may take, and of what."""
    if torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info()
        return int(free), f"the GPU {torch.cuda.get_device_name()}"
    import psutil

    return min(int(psutil.virtual_memory().available), left_in_group()), "this machine"


def left_in_group(group: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that a control group (version 2) leaves to its processes, as in containers; no limit without one.

    Files in memory count as used there, and are given up when there is need.
    """
    try:
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
        said = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no group, or "max"
        return 1 << 62
    return limit - used + int(said.get("inactive_file", 0)) + int(said.get("active_file", 0))
