"""Whether a processor multiplies in bf16, or only pretends to."""

import platform
from collections.abc import Mapping

import torch

UNITS = ("avx512_bf16", "amx_bf16", "avx10_2")
"""Extensions of x86 with products in bf16, by torch's names; every other one converts back and forth."""


def bf16_is_emulated(capabilities: Mapping[str, object] | None = None) -> bool:
    """True on an x86 processor without units for bf16, and where no GPU takes its place.

    Measured on one such processor (Xeon at 2.5 GHz, AVX-512 without bf16), with the product of 1200 x 576 and
    576 x 1536 numbers on one core: about four times as long as in float32.
    """
    if torch.cuda.is_available() or platform.machine() not in ("x86_64", "AMD64"):
        return False
    known = torch.cpu.get_capabilities() if capabilities is None else capabilities
    return not any(known.get(unit) for unit in UNITS)


def advice(label: str) -> str:
    """What to do about it, as a line; `label` is the recipe's table."""
    return (
        f'{label}: precision = "bf16", but this CPU has no units for it and emulates it, '
        f'which is slower than float32: set precision = "float32" in [{label}]\n'
    )
