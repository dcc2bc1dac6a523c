"""Where the lab's trained weights lie: kept in the repository, made by the recipes `mini-base` and `mini`."""

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
TOWER = WEIGHTS / "tower.safetensors"
BASE_ADAPTER = WEIGHTS / "reasoner"
SFT_BUNDLE = WEIGHTS / "pst-sft"
PST_BUNDLE = WEIGHTS / "pst"


def curve_of(bundle: Path) -> Path:
    """Its loss per step; a bundle holds nothing but what is served."""
    return bundle.with_name(f"{bundle.name}-training.json")
