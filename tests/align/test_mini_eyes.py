"""The lab's vision tower: what it is fed, what it learned, and that the recipe makes it again."""

import json
from copy import deepcopy

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from align.mini.base import image_processor
from align.mini.eyes import CLASSES, GRID, Eyes, build_eyes, measure, scene_batch, train
from align.mini.recipe import load_lab_recipe
from align.mini.scenes import render
from align.mini.trained import TOWER, WEIGHTS

pytestmark = pytest.mark.filterwarnings("default")

STEPS = 3


@pytest.fixture(scope="module")
def built() -> Eyes:
    return build_eyes(load_lab_recipe().eyes)


@pytest.fixture
def eyes(built: Eyes) -> Eyes:
    """Fresh ones, for this test alone."""
    return deepcopy(built)


def test_patches_are_cut_exactly_as_the_image_processor_cuts_them() -> None:
    batch = scene_batch("patches", 5)
    processed = image_processor()(images=[render(scene) for scene in batch.scenes], return_tensors="pt")
    assert torch.equal(processed["pixel_values"], batch.patches)
    assert processed["image_grid_thw"].tolist() == [[1, 8, 8]] * 5


def test_every_token_is_told_what_its_cell_shows() -> None:
    batch = scene_batch("cells", 40)
    assert batch.target.shape == (40, GRID * GRID, len(CLASSES))
    assert torch.allclose(batch.target.sum(-1), torch.ones(40, GRID * GRID))
    for row, scene in zip(batch.target, batch.scenes, strict=True):
        shown = {CLASSES[i] for i in row.sum(0).nonzero().flatten().tolist()} - {"background"}
        assert shown == set(scene.names) | ({scene.sign.word} if scene.sign else set())


def test_a_short_retraining_follows_the_recorded_loss_curve(eyes: Eyes) -> None:
    recipe = load_lab_recipe().eyes
    recorded = json.loads((WEIGHTS / "tower.json").read_text())
    assert recorded["recipe"] == recipe.model_dump()
    again = list(train(eyes, recipe, steps=STEPS))
    assert again == pytest.approx(recorded["loss"][:STEPS], rel=0.05)
    assert np.mean(recorded["loss"][-50:]) < 0.5 * recorded["loss"][4]


def test_the_kept_tower_names_things_and_signs_it_never_saw(eyes: Eyes) -> None:
    eyes.tower.load_state_dict({name: tensor.float() for name, tensor in load_file(TOWER).items()})
    seen = measure(eyes, "a seed of no training", 200)
    assert seen["subject"] >= 0.9
    assert seen["sign"] >= 0.9
