"""What one demo serves, decided from the environment before anything is built or started.

make demo                                          the mini lab, on CPU
MODEL=Fancy-MLLM/R1-Onevision-7B make demo         a real base model, on a CUDA GPU
MODEL=… ADAPTER=path/to/bundle make demo           the same with an adapter
DEMO_ONCE=1 make demo                              ends after the two replies
"""

import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from align.mini.trained import PST_BUNDLE
from policies.bundle import MANIFEST_FILE

ROOT = Path(__file__).resolve().parents[2]
WORKPLACE = ROOT / ".cache" / "demo"
LAB_BASE = ROOT / ".cache" / "mini" / "base"


class DemoFailed(Exception):
    """The demo cannot go on; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One demo."""

    model: str
    """The base model's directory, or its id on a model hub."""
    adapter: Path | None
    is_lab: bool
    """The mini model, on CPU; else a real one, on CUDA."""
    once: bool

    @property
    def alias(self) -> str:
        """The name that the requests ask for."""
        return "groundrule" if self.adapter else "base"

    @property
    def max_model_len(self) -> int:
        return 2048 if self.is_lab else 8192

    @property
    def max_tokens(self) -> int:
        """Longest reply; traces of the real base model are several times longer."""
        return 512 if self.is_lab else 2048


def make_plan(environment: Mapping[str, str], find_gpus: Callable[[], str | None] | None = None) -> Plan:
    """Read MODEL, ADAPTER and DEMO_ONCE; raises DemoFailed for what cannot work."""
    model, bundle = environment.get("MODEL", "").strip(), environment.get("ADAPTER", "").strip()
    if model and (find_gpus or nvidia_gpus)() is None:
        raise DemoFailed(
            f"MODEL={model} needs a CUDA GPU, and nvidia-smi finds none here; "
            "without MODEL the demo runs the mini lab's model on the CPU"
        )
    adapter = Path(bundle).expanduser().resolve() if bundle else (None if model else PST_BUNDLE)
    if adapter and not (adapter / MANIFEST_FILE).is_file():
        raise DemoFailed(f"{_shown(adapter)} is no complete adapter bundle: it has no {MANIFEST_FILE}")
    return Plan(
        model=model or str(LAB_BASE),
        adapter=adapter,
        is_lab=not model,
        once=environment.get("DEMO_ONCE", "") not in ("", "0"),
    )


def nvidia_gpus() -> str | None:
    """What nvidia-smi lists, or None where there is no usable GPU."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    listing = subprocess.run([program, "-L"], capture_output=True, text=True, check=False)
    return listing.stdout.strip() or None if listing.returncode == 0 else None


def _shown(path: Path) -> Path:
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
