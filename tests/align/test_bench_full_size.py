"""Measured: both stages at R1-Onevision's full shape, 7B parameters with random weights.

    python -m pytest -m bench tests/align/test_bench_full_size.py -s

With a GPU that holds it; elsewhere a small shape goes the same way, which says nothing of the large one.
What a random model learns means nothing; what a step takes is what it takes.
"""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, Trainer

from align.recipe import load_recipe
from align.records import Example, Pair
from align.train.session import run_session
from align.train.sft import sft_trainer
from align.train.srpo import srpo_trainer
from tests.align.training import pairs, sft_rows

pytestmark = [pytest.mark.bench, pytest.mark.filterwarnings("default"), pytest.mark.timeout(3600)]
STEPS = 10
RECIPE = load_recipe(Path("recipes/r1-onevision.toml"))
FULL = {
    "text": {
        "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
        "num_key_value_heads": 4, "vocab_size": 152064, "max_position_embeddings": 32768,
        "tie_word_embeddings": False,
    },
    "vision": {
        "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 3584,
        "fullatt_block_indexes": [7, 15, 23, 31],
    },
    "mrope": [16, 24, 24],
    "side": 896,
    "words": 600,
}  # fmt: skip
"""Qwen2.5-VL-7B's numbers; pictures of 1,024 tokens and replies of some 800."""
SMALL = {
    "text": {
        "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
    "vision": {
        "depth": 2, "hidden_size": 64, "intermediate_size": 128, "num_heads": 2, "out_hidden_size": 128,
        "fullatt_block_indexes": [1],
    },
    "mrope": [4, 6, 6],
    "side": 112,
    "words": 40,
}  # fmt: skip


def random_base(like: Path, shape: dict[str, Any], out: Path) -> Path:
    """A checkpoint of that shape, with tokenizer and chat template of the lab's base."""
    on = "cuda" if torch.cuda.is_available() else "cpu"
    config = AutoConfig.from_pretrained(like)
    for part, values in ((config.text_config, shape["text"]), (config.vision_config, shape["vision"])):
        for name, value in values.items():
            setattr(part, name, value)
    config.text_config.layer_types = ["full_attention"] * shape["text"]["num_hidden_layers"]
    config.text_config.rope_parameters = {
        "rope_type": "default", "rope_theta": 1e6, "mrope_section": shape["mrope"],
    }  # fmt: skip
    config.tie_word_embeddings = shape["text"].get("tie_word_embeddings", True)
    torch.manual_seed(1)
    with torch.device(on):
        model = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(out)
    processor = AutoProcessor.from_pretrained(like)
    side = shape["side"] ** 2
    processor.image_processor.size = {"shortest_edge": side, "longest_edge": side}
    processor.save_pretrained(out)
    del model
    torch.cuda.empty_cache() if torch.cuda.is_available() else None
    return out


def longer(text: str, words: int) -> str:
    return " ".join((text.split() * words)[:words])


def measured(trainer: Trainer, out: Path, stage: str) -> dict[str, Any]:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    run_session(trainer, out, stage, stop_after=STEPS)
    seconds = time.perf_counter() - start
    tokens = [entry["num_tokens"] for entry in trainer.state.log_history if "loss" in entry][-1]
    peak = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else None
    return {
        "stage": stage,
        "seconds_per_step": round(seconds / STEPS, 2),
        "tokens_per_second": round(tokens / seconds),
        "peak_gib": peak and round(peak, 1),
        "rows_per_step": trainer.args.gradient_accumulation_steps * trainer.args.per_device_train_batch_size,
    }


def test_both_stages_at_full_size(mini_base: Path, tmp_path: Path) -> None:
    shape = FULL if torch.cuda.is_available() else SMALL
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU: a small shape"
    base = random_base(mini_base, shape, tmp_path / "base")
    count = RECIPE.sft.batch_size * (STEPS + 1)
    rows: list[Example] = [
        row.model_copy(update={"completion": longer(row.completion, shape["words"])})
        for row in sft_rows(tmp_path, count)
    ]
    some: list[Pair] = [
        pair.model_copy(
            update={name: longer(getattr(pair, name), shape["words"]) for name in ("chosen", "rejected")}
        )
        for pair in pairs(tmp_path, count)
    ]
    for picture in (tmp_path / "pictures").iterdir():
        with Image.open(picture) as image:
            image.resize((shape["side"], shape["side"])).save(picture)
    sft, _ = sft_trainer(rows, tmp_path, RECIPE.sft, base, tmp_path / "sft")
    found = [measured(sft, tmp_path / "sft", "sft")]
    del sft
    torch.cuda.empty_cache() if torch.cuda.is_available() else None
    assert RECIPE.srpo
    srpo, _ = srpo_trainer(some, tmp_path, RECIPE.srpo, base, tmp_path / "sft", tmp_path / "srpo")
    found.append(measured(srpo, tmp_path / "srpo", "srpo"))
    print(f"\n{device}")
    for line in found:
        print(json.dumps(line))
