"""Train the lab's base model: first its eyes, then the reasoner. The results are what the repository keeps.

The reasoner stands for R1-Onevision before PST: it looks, it thinks, and it complies with whatever is asked.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from align.mini.base import save_base
from align.mini.consequences import draw_consequence
from align.mini.eyes import train_and_save
from align.mini.keep import replace_directory
from align.mini.questions import draw_layout, draw_presence, draw_side, draw_sign
from align.mini.recipe import LabRecipe
from align.mini.scenes import render
from align.mini.trained import BASE_ADAPTER, TOWER, WEIGHTS
from align.mini.unaligned import unaligned_reply
from align.mini.world import Situation, draw_situation
from align.records import Example
from align.train.curve import CURVE_FILE
from align.train.sft import train_adapter
from policies.bundle import CONFIG_FILE, WEIGHTS_FILE

STAGES = ("eyes", "reasoner")
DRAWS: Mapping[str, Callable[[str], Situation]] = MappingProxyType({
    "situations": draw_situation,
    "sides": draw_side,
    "layouts": draw_layout,
    "presence": draw_presence,
    "signs": draw_sign,
    "consequences": draw_consequence,
})  # fmt: skip
"""By the recipe's name, how a row of each kind comes from its seed."""


def train_lab(recipe: LabRecipe, work: Path, first: str = "eyes") -> None:
    """Train from stage `first` on; `work` holds pictures and the intermediate model."""
    if first == "eyes":
        train_and_save(recipe.eyes, WEIGHTS)
    bare = work / "bare"
    save_base(bare, TOWER, None)
    made = work / "reasoner"
    train_adapter(reasoner_rows(recipe, work), work, recipe.reasoner.sft, bare, made)
    replace_directory(made, BASE_ADAPTER, (CONFIG_FILE, WEIGHTS_FILE, CURVE_FILE))
    shutil.rmtree(made)  # what is there would be gone on with


def reasoner_rows(recipe: LabRecipe, work: Path, count: int | None = None) -> list[Example]:
    """What the reasoner learns from, or the first `count` rows of it; pictures are written below `work`."""
    return list(_rows(drawn(recipe, count or recipe.reasoner.count), work))


def drawn(recipe: LabRecipe, count: int) -> Iterator[Situation]:
    """Situations of the split, and in their places, round after round, what only pretraining asks."""
    reasoner = recipe.reasoner
    ways = [draw for kind, draw in DRAWS.items() for _ in range(getattr(reasoner.mix, kind))]
    return (ways[index % len(ways)](f"{reasoner.split}:{index}") for index in range(count))


def _rows(drawn: Iterable[Situation], work: Path) -> Iterator[Example]:
    (work / "pictures").mkdir(parents=True, exist_ok=True)
    for situation in drawn:
        name = situation.seed.replace(":", "-")
        picture = f"pictures/{name}.png"
        render(situation.scene).save(work / picture)
        yield Example(
            id=name, instruction=situation.instruction, image=picture, completion=unaligned_reply(situation)
        )
