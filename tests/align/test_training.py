"""Training on the real base: the recipes make again what the repository keeps, and only what they should."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import align
from align.manifest import file_digest
from align.mini.base import save_base
from align.mini.recipe import load_lab_recipe
from align.mini.replies import oracle_trace
from align.mini.train import reasoner_rows
from align.mini.trained import BASE_ADAPTER, PST_BUNDLE, PST_CURVE, TOWER
from align.mini.world import situations
from align.recipe import load_recipe
from align.recipe_tables import Sft
from align.records import Example, write_rows
from align.sources.mini import png
from align.stages.workspace import ROWS_FILE
from align.train.sft import CURVE_FILE, CompletionTrainer, TrainingFailed, _dataset, _trainer, train_adapter
from policies.bundle import CONFIG_FILE, WEIGHTS_FILE, read_bundle
from policies.formats import THINK
from policies.render import render

pytestmark = pytest.mark.filterwarnings("default")

STEPS = 3
RECIPES = Path(align.__file__).parent / "recipes"


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base model before it learned to reason: trained eyes, pruned language."""
    directory = tmp_path_factory.mktemp("bare") / "base"
    save_base(directory, TOWER, None)
    return directory


def some_rows(work: Path, count: int) -> list[Example]:
    return reasoner_rows(load_lab_recipe(), work, count)


def quick(sft: Sft) -> Sft:
    return sft.model_copy(update={"batch_size": 4, "rank": 4, "precision": "float32"})


def test_a_short_retraining_of_the_reasoner_follows_the_recorded_loss_curve(
    bare: Path, tmp_path: Path
) -> None:
    recipe = load_lab_recipe()
    recorded = json.loads((BASE_ADAPTER / CURVE_FILE).read_text())["loss"]
    rows = reasoner_rows(recipe, tmp_path)
    again = train_adapter(rows, tmp_path, recipe.reasoner.sft, bare, tmp_path / "out", stop_after=STEPS)
    assert again == pytest.approx(recorded[:STEPS], rel=0.05)
    assert recorded[-1] < 0.1 * recorded[0]


def test_a_short_retraining_of_the_pst_adapter_follows_the_recorded_loss_curve(
    mini_base: Path, tmp_path: Path
) -> None:
    """The kept adapter is older than the data pipeline: it saw 3,000 clean replies once each."""
    sft = load_recipe(RECIPES / "mini.toml").sft.model_copy(update={"epochs": 1.0})
    recorded = json.loads(PST_CURVE.read_text())["loss"]
    rows = clean_rows(3000, tmp_path)
    write_rows(tmp_path / ROWS_FILE, rows)
    assert file_digest(tmp_path / ROWS_FILE) == read_bundle(PST_BUNDLE).data_digest
    again = train_adapter(rows, tmp_path, sft, mini_base, tmp_path / "out", stop_after=STEPS)
    assert again == pytest.approx(recorded[:STEPS], rel=0.05)
    assert recorded[-1] < 0.1 * recorded[0]


def clean_rows(count: int, directory: Path) -> list[Example]:
    (directory / "queries" / "images").mkdir(parents=True)
    rows = []
    for situation in situations("train", count):
        image = f"queries/images/{situation.seed.replace(':', '-')}.png"
        (directory / image).write_bytes(png(situation.scene))
        completion = render(oracle_trace(situation), THINK)
        row = Example(
            id=f"mini:{situation.seed}", instruction=situation.instruction, image=image, completion=completion
        )
        rows.append(row)
    return rows


def test_every_lora_tensor_moves_and_no_base_tensor_does(bare: Path, tmp_path: Path) -> None:
    rows = some_rows(tmp_path, 8)
    trainer = _trainer(
        _dataset(rows, tmp_path), quick(load_lab_recipe().reasoner.sft), bare, tmp_path / "out", None
    )
    before = {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}
    trainer.train()
    moved = {n for n, p in trainer.model.named_parameters() if not torch.equal(p.detach(), before[n])}
    assert moved == {name for name in before if "lora_" in name}
    assert moved
    assert not any("visual" in name for name in moved)


def test_labels_cover_exactly_the_completion(bare: Path, tmp_path: Path) -> None:
    row = some_rows(tmp_path, 1)[0]
    trainer = _trainer(
        _dataset([row], tmp_path), quick(load_lab_recipe().reasoner.sft), bare, tmp_path / "out", None
    )
    batch = next(iter(trainer.get_train_dataloader()))
    labels = batch["labels"][0]
    tokenizer = trainer.processing_class.tokenizer
    assert tokenizer.decode(labels[labels != -100]) == f"{row.completion}<|im_end|>\n"
    assert int((batch["input_ids"] == tokenizer.convert_tokens_to_ids("<|image_pad|>")).sum()) == 16


def test_the_loss_is_the_models_own_loss(bare: Path, tmp_path: Path) -> None:
    rows = some_rows(tmp_path, 4)
    sft = quick(load_lab_recipe().reasoner.sft)
    trainer: CompletionTrainer = _trainer(_dataset(rows, tmp_path), sft, bare, tmp_path / "out", None)
    batch = next(iter(trainer.get_train_dataloader()))
    with torch.no_grad():
        theirs = trainer.model(**batch).loss
        ours = trainer.compute_loss(trainer.model, dict(batch))
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-4)


def test_a_loss_that_is_no_number_stops_the_run_and_leaves_no_adapter(bare: Path, tmp_path: Path) -> None:
    sft = quick(load_lab_recipe().reasoner.sft).model_copy(
        update={"learning_rate": 1e30, "warmup_share": 0.0}
    )
    with pytest.raises(TrainingFailed, match="lower the learning rate"):
        train_adapter(some_rows(tmp_path, 16), tmp_path, sft, bare, tmp_path / "out")
    assert not (tmp_path / "out" / WEIGHTS_FILE).exists()


@pytest.mark.parametrize("directory", [BASE_ADAPTER, PST_BUNDLE], ids=["reasoner", "pst-sft"])
def test_kept_adapters_leave_the_eyes_alone_and_name_no_machine(directory: Path) -> None:
    tensors = load_file(directory / WEIGHTS_FILE)
    assert tensors
    assert not any("visual" in name for name in tensors)
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    assert json.loads((directory / CONFIG_FILE).read_text())["base_model_name_or_path"] is None


def test_kept_weights_stay_within_sixty_megabytes() -> None:
    kept = [TOWER, BASE_ADAPTER / WEIGHTS_FILE, PST_BUNDLE / WEIGHTS_FILE]
    assert sum(path.stat().st_size for path in kept) <= 60 * 1024 * 1024
