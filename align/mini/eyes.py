"""Teach the vision tower to see: every image token is drawn to the word embedding of what it shows.

A contrast against the frozen language model's own word embeddings (LiT, arXiv 2111.07991), but dense: the lab
knows who covers which pixel, so all sixteen tokens of a picture are labelled, not the picture alone.
The tower's output then lies where the language layers already understand it, and needs no projector training.
"""

import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from rich.progress import Progress
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from align.mini.base import MERGE, PATCH_SIZE, PICTURE_SIZE, assemble
from align.mini.recipe import Eyes as EyesRecipe
from align.mini.scenes import Scene, draw_scene, random_sign, render_with_cover
from align.mini.things import SIGNS, THINGS

# Shapes: B scenes, T image tokens of a scene (16, row by row), C classes, D width of the language model.
CLASSES = ("background", *THINGS, *SIGNS)
GRID = PICTURE_SIZE // (PATCH_SIZE * MERGE)
CELL = PATCH_SIZE * MERGE
SIGN_SHARE = 0.5

# CLIP's normalisation, as Qwen2.5-VL's image processor applies it.
MEAN = np.array([0.48145466, 0.4578275, 0.40821073], dtype=np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Batch:
    patches: Tensor
    """(B*64, 1176): as the image processor cuts them."""
    target: Tensor
    """(B, T, C): share of each token's cell that each class covers."""
    scenes: tuple[Scene, ...]


def scene_batch(seed: str, size: int) -> Batch:
    """`size` scenes drawn from a seed, with who covers each token's cell."""
    rng = random.Random(seed)
    scenes = tuple(draw_scene(rng, sign=random_sign(rng, SIGN_SHARE)) for _ in range(size))
    drawn = [render_with_cover(scene) for scene in scenes]
    pictures = np.stack([np.asarray(picture) for picture, _ in drawn])
    target = np.stack([_cell_shares(scene, cover) for scene, (_, cover) in zip(scenes, drawn, strict=True)])
    return Batch(cut_patches(pictures), torch.from_numpy(target), scenes)


def cut_patches(pictures: np.ndarray) -> Tensor:
    """(B, H, W, 3) uint8 to (B*patches, 3*2*14*14): Qwen2.5-VL's order, merge blocks together."""
    pixels = (pictures.astype(np.float32) / 255 - MEAN) / STD
    count = pictures.shape[0]
    blocks = pixels.reshape(count, GRID, MERGE, PATCH_SIZE, GRID, MERGE, PATCH_SIZE, 3)
    ordered = blocks.transpose(
        0, 1, 4, 2, 5, 7, 3, 6
    )  # B, row, column, row in block, column in block, rgb, y, x
    twice = np.repeat(ordered[:, :, :, :, :, :, None], 2, axis=6)  # a still picture is two equal frames
    return torch.from_numpy(twice.reshape(count * (GRID * MERGE) ** 2, -1))


def _cell_shares(scene: Scene, cover: np.ndarray) -> np.ndarray:
    cells = cover.reshape(GRID, CELL, GRID, CELL).transpose(0, 2, 1, 3).reshape(GRID * GRID, CELL * CELL)
    shares = np.zeros((GRID * GRID, len(CLASSES)), dtype=np.float32)
    for index, name in enumerate(scene.names, start=1):
        shares[:, CLASSES.index(name)] = (cells == index).mean(1)
    if scene.sign is not None:
        shares[:, CLASSES.index(scene.sign.word)] = (cells == -1).mean(1)
    # A third of a cell is enough to say what is in it: bare background counts little.
    shares[:, 0] = (cells == 0).mean(1) / 3
    whole: np.ndarray = shares.sum(1, keepdims=True)
    normalised: np.ndarray = shares / whole
    return normalised


def class_embeddings(embedding: Tensor, tokenizer: PreTrainedTokenizerFast) -> Tensor:
    """(C, D): the mean word embedding of each class's name."""
    ids = [tokenizer(f" {name}", add_special_tokens=False).input_ids for name in CLASSES]
    return torch.stack([embedding[i].mean(0) for i in ids])


class Eyes(nn.Module):
    """The tower and, while training, a temperature: similarity to each class's embedding."""

    tower: Any
    """transformers' Qwen2_5_VisionTransformerPretrainedModel, untyped."""
    names_CD: Tensor
    mean_D: Tensor

    def __init__(self, tower: Any, names_CD: Tensor, mean_D: Tensor) -> None:
        super().__init__()
        self.tower = tower
        self.log_scale = nn.Parameter(torch.tensor(2.5))
        self.register_buffer("names_CD", names_CD, persistent=False)
        self.register_buffer("mean_D", mean_D, persistent=False)

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Image tokens (B, T, D) and their class scores (B, T, C)."""
        side = GRID * MERGE
        count = patches.shape[0] // side**2
        grid = torch.tensor([[1, side, side]]).repeat(count, 1)
        tokens = self.tower(patches, grid_thw=grid).pooler_output.float().view(count, GRID * GRID, -1)
        centred = F.normalize(tokens - self.mean_D, dim=-1)
        names = F.normalize(self.names_CD - self.mean_D, dim=-1)
        return tokens, self.log_scale.exp() * centred @ names.T

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy over classes, and the distance to the embedding of what is there (relative)."""
        tokens, scores = self(batch.patches)
        contrast: Tensor = -(batch.target * scores.log_softmax(-1)).sum(-1).mean()
        wanted = batch.target @ self.names_CD
        distance: Tensor = (tokens - wanted).square().sum(-1).mean() / wanted.square().sum(-1).mean()
        return contrast + 0.5 * distance


def whiten_patches(tower: Any, patches: Tensor) -> None:
    """Start the patch embedding at the principal directions of real patches: one layer less to learn."""
    weight = tower.patch_embed.proj.weight  # (width, 3, 2, 14, 14)
    flat = patches.view(-1, 3, 2, PATCH_SIZE * PATCH_SIZE)[:, :, 0].reshape(patches.shape[0], -1)
    flat = flat - flat.mean(0)
    values, vectors = torch.linalg.eigh(flat.T @ flat / flat.shape[0])
    top = values.argsort(descending=True)[: weight.shape[0]]
    directions = (vectors[:, top] / (values[top] + 1e-2).sqrt()).T * 0.5
    single = directions.view(weight.shape[0], 3, 1, PATCH_SIZE, PATCH_SIZE)
    with torch.no_grad():
        weight.copy_(torch.cat([single, single], dim=2) / 2)


def build_eyes(recipe: EyesRecipe) -> Eyes:
    """Fresh eyes, seeded, on the language model's embeddings."""
    model, tokenizer = assemble()
    embedding = model.get_input_embeddings().weight.detach()
    torch.manual_seed(recipe.seed)
    tower = type(model.model.visual)._from_config(model.config.vision_config, attn_implementation="sdpa")
    whiten_patches(tower, scene_batch(f"{recipe.seed}:whiten", 128).patches)
    return Eyes(tower, class_embeddings(embedding, tokenizer), embedding.mean(0))


def train(eyes: Eyes, recipe: EyesRecipe, steps: int | None = None) -> Iterator[float]:
    """Train, yielding the loss after each step; `steps` cuts a run short without changing its schedule."""
    matrices = [p for n, p in eyes.tower.blocks.named_parameters() if p.ndim == 2]
    chosen = {id(p) for p in matrices}
    others = [p for p in eyes.parameters() if id(p) not in chosen]
    optimisers = (
        torch.optim.Muon(matrices, lr=recipe.muon_learning_rate, weight_decay=0.01),
        torch.optim.AdamW(others, lr=recipe.adam_learning_rate, weight_decay=0.01),
    )
    rates = [group["lr"] for optimiser in optimisers for group in optimiser.param_groups]
    for step in range(steps or recipe.steps):
        factor = _schedule(step, recipe)
        groups = [group for optimiser in optimisers for group in optimiser.param_groups]
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate * factor
        batch = scene_batch(f"{recipe.seed}:{step}", recipe.batch)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=recipe.precision == "bf16"):
            loss = eyes.loss(batch)
        for optimiser in optimisers:
            optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(eyes.parameters(), 1.0)
        for optimiser in optimisers:
            optimiser.step()  # type: ignore[no-untyped-call]
        yield loss.item()


def _schedule(step: int, recipe: EyesRecipe) -> float:
    decay_from = recipe.steps * (1 - recipe.decay_share)
    rise = min(1.0, (step + 1) / recipe.warmup_steps)
    fall = min(1.0, (recipe.steps - step) / (recipe.steps - decay_from))
    return rise * fall


@torch.no_grad()
def measure(eyes: Eyes, seed: str, count: int = 256) -> dict[str, float]:
    """Share of scenes whose subject, other things and sign the tokens name, on scenes of another seed."""
    batch = scene_batch(seed, count)
    scores = eyes(batch.patches)[1].softmax(-1).sum(1)[:, 1:]  # (B, C-1): evidence over the picture
    things, signs = scores[:, : len(THINGS)], scores[:, len(THINGS) :]
    names = list(THINGS)
    subject = [names[int(i)] == s.subject for i, s in zip(things.argmax(-1), batch.scenes, strict=True)]
    every = [
        {names[int(i)] for i in row.topk(len(s.names)).indices} == set(s.names)
        for row, s in zip(things, batch.scenes, strict=True)
    ]
    words = [
        SIGNS[int(row.argmax())] == s.sign.word for row, s in zip(signs, batch.scenes, strict=True) if s.sign
    ]
    rates = {"subject": subject, "all things": every, "sign": words}
    return {name: float(np.mean(found)) for name, found in rates.items()}


def train_and_save(recipe: EyesRecipe, directory: Path) -> None:
    """Train the tower and write its weights (bf16), loss curve and measurement beside each other."""
    eyes = build_eyes(recipe)
    curve: list[float] = []
    started = time.monotonic()
    with Progress() as progress:
        task = progress.add_task("eyes", total=recipe.steps)
        for loss in train(eyes, recipe):
            curve.append(loss)
            progress.update(task, advance=1, description=f"eyes, loss {np.mean(curve[-50:]):.3f}")
            if len(curve) % 200 == 0:
                progress.console.print(
                    len(curve), f"{time.monotonic() - started:.0f} s", measure(eyes, "held-out")
                )
    directory.mkdir(parents=True, exist_ok=True)
    weights = {name: t.to(torch.bfloat16).contiguous() for name, t in eyes.tower.state_dict().items()}
    save_file(weights, directory / "tower.safetensors")
    seen = measure(eyes, "held-out", 1000)
    report = {"recipe": recipe.model_dump(), "held_out": seen, "loss": curve}
    (directory / "tower.json").write_text(json.dumps(report) + "\n")
