"""Where the lab's trained weights lie: kept in the repository, made by the recipes `mini-base` and `mini`."""

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
TOWER = WEIGHTS / "tower.safetensors"
BASE_ADAPTER = WEIGHTS / "reasoner"
PST_BUNDLE = WEIGHTS / "pst-sft"
PST_CURVE = WEIGHTS / "pst-sft-training.json"
"""Its loss per step; a bundle holds nothing but what is served."""
