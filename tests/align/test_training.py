"""The lab's kept adapters: made again from the recipes, they begin as recorded, and are what they say."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from align.graph import Span
from align.mini.base import save_base
from align.mini.recipe import load_lab_recipe
from align.mini.scenes import Scene, render
from align.mini.train import reasoner_rows
from align.mini.trained import BASE_ADAPTER, PST_BUNDLE, SFT_BUNDLE, TOWER, curve_of
from align.recipe import Recipe, digest_of, load_recipe
from align.records import Dropped, Pair, SftRow, read_rows
from align.run import run
from align.train import rows as training_rows
from align.train.curve import CURVE_FILE
from align.train.rows import Collator, fitting
from align.train.sft import train_adapter
from align.train.srpo import prefer
from align.training_tables import Training
from policies.bundle import CONFIG_FILE, WEIGHTS_FILE, read_bundle, touches_tower

pytestmark = pytest.mark.filterwarnings("default")

STEPS = 3
MEASURED = 50
KEPT = [SFT_BUNDLE, PST_BUNDLE]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base model before it learned to reason: trained eyes, pruned language."""
    directory = tmp_path_factory.mktemp("bare") / "base"
    save_base(directory, TOWER, None)
    return directory


@pytest.fixture(scope="module")
def mini() -> Recipe:
    return load_recipe(Path("recipes/mini.toml"))


@pytest.fixture(scope="module")
def rows(mini: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The whole of the lab's data pipeline: 15,500 queries, too many minutes for `make test`."""
    directory = tmp_path_factory.mktemp("mini") / "run"
    run(mini, directory, Span(last="pairs"))
    return directory


@pytest.fixture
def of_few_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reasoner's picture is drawn when it is opened, and of its rows only the longest are measured before.

    A few steps see a few dozen of 10,800; the rows, and so their order in training, are those of all.
    """
    scenes: dict[Path, Scene] = {}
    opened = training_rows._picture

    def undrawn(scene: Scene) -> SimpleNamespace:
        return SimpleNamespace(save=lambda path: scenes.update({path: scene}))

    def drawn(path: Path, row: str) -> Image.Image:
        render(scenes[path]).save(path)
        return opened(path, row)

    def longest_fitting(
        rows: Sequence[dict[str, Any]], collator: Collator, stage: str, settings: Training
    ) -> tuple[list[dict[str, Any]], list[Dropped], int]:
        longest = sorted(rows, key=lambda row: len(str(row)), reverse=True)[:MEASURED]
        _, dropped, tokens = fitting(longest, collator, stage, settings)
        assert not dropped
        return [{**row, "number": number} for number, row in enumerate(rows)], dropped, tokens

    monkeypatch.setattr("align.mini.train.render", undrawn)
    monkeypatch.setattr("align.train.rows._picture", drawn)
    monkeypatch.setattr("align.train.sft.fitting", longest_fitting)


@pytest.mark.usefixtures("of_few_pictures")
def test_a_short_retraining_of_the_reasoner_follows_the_recorded_loss_curve(
    bare: Path, tmp_path: Path
) -> None:
    recipe = load_lab_recipe()
    recorded = json.loads((BASE_ADAPTER / CURVE_FILE).read_text())["loss"]
    rows = reasoner_rows(recipe, tmp_path)
    again, _ = train_adapter(rows, tmp_path, recipe.reasoner.sft, bare, tmp_path / "out", stop_after=STEPS)
    assert again == pytest.approx(recorded[:STEPS], rel=0.05)
    assert recorded[-1] < 0.1 * recorded[0]


def test_the_kept_adapters_are_those_of_the_recipe_as_it_stands(mini: Recipe) -> None:
    sft, pst = (read_bundle(bundle) for bundle in KEPT)
    assert (sft.recipe_digest, pst.recipe_digest) == (digest_of(mini.making()), digest_of(mini.making_both()))


@pytest.mark.bench
@pytest.mark.timeout(1800)
def test_the_lab_makes_the_rows_that_the_kept_adapters_saw(rows: Path, mini: Recipe) -> None:
    digests = [json.loads((rows / stage / "manifest.json").read_text()) for stage in ("select", "pairs")]
    assert mini.pairs is not None
    assert [manifest["rows"] for manifest in digests] == [mini.select.count, mini.pairs.count]
    selected, paired = (manifest["result_digest"] for manifest in digests)
    sft, pst = (read_bundle(bundle) for bundle in KEPT)
    assert (sft.data_digest, pst.data_digest) == (selected, digest_of([selected, paired]))


@pytest.mark.bench
@pytest.mark.timeout(1800)
def test_a_short_retraining_of_stage_1_follows_the_recorded_loss_curve(
    rows: Path, mini: Recipe, mini_base: Path, tmp_path: Path
) -> None:
    recorded = json.loads(curve_of(SFT_BUNDLE).read_text())["loss"]
    selected = list(read_rows(rows / "select" / "rows.jsonl", SftRow))
    again, _ = train_adapter(selected, rows, mini.sft, mini_base, tmp_path / "out", stop_after=STEPS)
    assert again == pytest.approx(recorded[:STEPS], rel=0.05)
    assert recorded[-1] < 0.1 * recorded[0]


@pytest.mark.bench
@pytest.mark.timeout(1800)
def test_a_short_retraining_of_stage_2_follows_the_recorded_loss_curve(
    rows: Path, mini: Recipe, mini_base: Path, tmp_path: Path
) -> None:
    assert mini.srpo
    recorded = json.loads(curve_of(PST_BUNDLE).read_text())["loss"]
    pairs = list(read_rows(rows / "pairs" / "rows.jsonl", Pair))
    again, _ = prefer(pairs, rows, mini.srpo, mini_base, SFT_BUNDLE, tmp_path / "out", stop_after=STEPS)
    assert again == pytest.approx(recorded[:STEPS], rel=0.05)
    assert recorded[-1] < 0.5 * recorded[0]


@pytest.mark.parametrize("directory", [BASE_ADAPTER, *KEPT], ids=lambda path: path.name)
def test_kept_adapters_leave_the_eyes_alone_and_name_no_machine(directory: Path) -> None:
    tensors = load_file(directory / WEIGHTS_FILE)
    assert tensors
    assert touches_tower(tensors) == []
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    assert json.loads((directory / CONFIG_FILE).read_text())["base_model_name_or_path"] is None


@pytest.mark.parametrize("bundle", KEPT, ids=lambda path: path.name)
def test_kept_adapters_carry_their_report_cards(bundle: Path) -> None:
    card = read_bundle(bundle).report_card
    assert card
    assert card.n >= 200


def test_kept_weights_stay_within_sixty_megabytes() -> None:
    kept = [TOWER, *(directory / WEIGHTS_FILE for directory in (BASE_ADAPTER, *KEPT))]
    assert sum(path.stat().st_size for path in kept) <= 60 * 1024 * 1024
