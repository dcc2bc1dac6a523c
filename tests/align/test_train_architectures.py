"""Both stages on a tiny base of every architecture, through the shipped recipes, and what they leave."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from align.recipe import load_recipe
from align.records import Pair, SftRow
from align.train.bases import BASE_KINDS, BaseKind, kind_of, load_base
from align.train.bundle import write_merged
from align.train.errors import TrainingFailed
from align.train.rows import Collator
from align.train.sft import sft_trainer, train_adapter
from align.train.srpo import prefer
from policies.bundle import CONFIG_FILE, WEIGHTS_FILE
from policies.formats import FORMATS
from policies.render import compose, render
from policies.reply import Verdict
from tests.align.tiny_bases import TINY, tiny_base
from tests.align.training import SFT, SRPO, pairs, sft_rows

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("default"),
    pytest.mark.filterwarnings("ignore:`hidden_state` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
]
RECIPES = Path(__file__).parents[2] / "align" / "recipes"
STEPS = 3
ARCHITECTURES = {
    "r1-onevision": "Qwen2_5_VLForConditionalGeneration",
    "llava-cot": "MllamaForConditionalGeneration",
}


@pytest.fixture(scope="module", params=sorted(TINY))
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(request.param, tmp_path_factory.mktemp("bases") / request.param)


def in_format(rows: list[SftRow], kind: BaseKind) -> list[SftRow]:
    """The rows' completions as the family writes: those stop where its template lets them."""
    format_ = FORMATS[kind.reasoning_format]
    return [
        row.model_copy(
            update={"completion": render(compose([], Verdict.COMPLY, [], row.completion), format_)}
        )
        for row in rows
    ]


def logits_of(model: Any, collator: Collator, row: dict[str, Any]) -> torch.Tensor:
    batch = collator([row])
    inputs = {key: value for key, value in batch.items() if key not in ("labels", "row_numbers")}
    with torch.no_grad():
        found: torch.Tensor = model.eval()(**inputs).logits.float()
    return found


def test_both_stages_train_and_the_adapter_gives_the_same_logits_again(base: Path, tmp_path: Path) -> None:
    kind = kind_of(base)
    named = {"reasoning_format": kind.reasoning_format}
    rows = in_format(sft_rows(tmp_path), kind)
    sft_losses, _ = train_adapter(rows, tmp_path, SFT, base, tmp_path / "sft", **named)
    losses, _ = prefer(pairs(tmp_path), tmp_path, SRPO, base, tmp_path / "sft", tmp_path / "pst", **named)
    assert losses[0] == pytest.approx(0.6931, abs=1e-3)
    assert len(sft_losses) == len(losses) == 2
    trainer, _ = sft_trainer(rows, tmp_path, SFT, base, tmp_path / "again", **named)
    row = trainer.train_dataset[0]
    plain = logits_of(load_base(base, torch.float32), trainer.data_collator, row)
    for adapter in (tmp_path / "sft", tmp_path / "pst"):
        model = PeftModel.from_pretrained(load_base(base, torch.float32), adapter)
        once = logits_of(model, trainer.data_collator, row)
        model.save_pretrained(tmp_path / "saved")
        again = PeftModel.from_pretrained(load_base(base, torch.float32), tmp_path / "saved")
        assert torch.equal(logits_of(again, trainer.data_collator, row), once)
        assert not torch.allclose(once, plain, atol=1e-2)


def test_merged_weights_are_the_adapter_on_its_base(base: Path, tmp_path: Path) -> None:
    kind = kind_of(base)
    named = {"reasoning_format": kind.reasoning_format}
    rows = in_format(sft_rows(tmp_path), kind)
    train_adapter(rows, tmp_path, SFT, base, tmp_path / "sft", **named)
    write_merged(base, tmp_path / "sft", tmp_path / "merged")
    trainer, _ = sft_trainer(rows, tmp_path, SFT, tmp_path / "merged", tmp_path / "again", **named)
    row = trainer.train_dataset[0]
    adapted = PeftModel.from_pretrained(load_base(base, torch.float32), tmp_path / "sft").merge_and_unload()
    merged = load_base(tmp_path / "merged", torch.float32)
    again = logits_of(merged, trainer.data_collator, row)
    assert torch.allclose(again, logits_of(adapted, trainer.data_collator, row), atol=1e-4)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_shipped_recipes_take_their_first_steps_with_nothing_changed_but_the_model(
    name: str, tmp_path: Path
) -> None:
    recipe = load_recipe(RECIPES / f"{name}.toml")
    base = tiny_base(ARCHITECTURES[name], tmp_path / "base")
    kind = kind_of(base)
    assert recipe.trajectories.reasoning_format == kind.reasoning_format
    assert recipe.bundle.merged == (kind.served_as == "merged")
    named = {"reasoning_format": recipe.trajectories.reasoning_format, "stop_after": STEPS}
    sft = recipe.sft.model_copy(update={"base": str(base)})
    assert recipe.srpo
    rows = in_format(sft_rows(tmp_path, 48), kind)
    losses, dropped = train_adapter(rows, tmp_path, sft, base, tmp_path / "sft", **named)
    assert (len(losses), dropped) == (STEPS, [])
    some: list[Pair] = pairs(tmp_path, 48)
    losses, dropped = prefer(some, tmp_path, recipe.srpo, base, tmp_path / "sft", tmp_path / "pst", **named)
    assert (len(losses), dropped) == (STEPS, [])
    assert sorted(p.name for p in (tmp_path / "pst").glob("adapter*")) == [CONFIG_FILE, WEIGHTS_FILE]


def test_a_format_that_the_template_does_not_begin_is_refused(tmp_path: Path) -> None:
    base = tiny_base("Qwen3VLForConditionalGeneration", tmp_path / "base")
    with pytest.raises(TrainingFailed, match="name another one in the recipe"):
        sft_trainer(sft_rows(tmp_path), tmp_path, SFT, base, tmp_path / "out", "think")


def test_every_kind_is_trained_here() -> None:
    assert TINY.keys() == BASE_KINDS.keys()
