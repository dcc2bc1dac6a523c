"""Assemble the lab's base model: SmolLM2 language layers and the lab's tower in the Qwen2.5-VL architecture.

Qwen2.5-VL is R1-Onevision's own architecture. Llama and Qwen2 differ only by the q/k/v biases, zero here.
The base adapter (the unaligned reasoner's LoRA) is merged in, so the result is a plain checkpoint directory.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import (
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessorPil,
    Qwen2VLVideoProcessor,
)

from align.mini import language
from align.mini.language import VOCABULARY_MULTIPLE, load_language_model, load_tokenizer
from policies.bundle import CONFIG_FILE, WEIGHTS_FILE

PICTURE_SIZE = 112
"""Pixels on a side; 16 image tokens."""
PATCH_SIZE = 14
MERGE = 2
BASE_ID = "groundrule-mini"
STAMP_FILE = "groundrule.json"

# Of SmolLM2's 30 layers, those stayed whose removal hurt a fixed text most (docs/decisions.md).
KEPT_LAYERS = (0, 1, 2, 8, 9, 10, 11, 19, 21, 24, 28, 29)


def tower_config() -> dict[str, object]:
    """The vision tower: 6 layers, 256 wide, one window over the whole 8x8 grid of patches."""
    return {
        "depth": 6,
        "hidden_size": 256,
        "intermediate_size": 512,
        "num_heads": 4,
        "in_channels": 3,
        "patch_size": PATCH_SIZE,
        "spatial_merge_size": MERGE,
        "temporal_patch_size": 2,
        "window_size": PICTURE_SIZE,
        "fullatt_block_indexes": [1, 3, 5],
        "out_hidden_size": 576,
        "tokens_per_second": 2,
    }


def model_config(tokenizer: PreTrainedTokenizerFast, layers: int) -> Qwen2_5_VLConfig:
    """Config of the base model with `layers` language layers."""
    ids = tokenizer.convert_tokens_to_ids
    vocabulary = -(-len(tokenizer) // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE
    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": vocabulary,
            "hidden_size": 576,
            "intermediate_size": 1536,
            "num_hidden_layers": layers,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "max_position_embeddings": 8192,
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": True,
            "use_sliding_window": False,
            "rope_parameters": {"rope_type": "default", "rope_theta": 100000.0, "mrope_section": [8, 12, 12]},
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config=tower_config(),
        tie_word_embeddings=True,
        image_token_id=ids("<|image_pad|>"),
        video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
    )


def assemble(
    tower: Path | None = None, adapter: Path | None = None, layers: Sequence[int] = KEPT_LAYERS
) -> tuple[Qwen2_5_VLForConditionalGeneration, PreTrainedTokenizerFast]:
    """The model in float32; without `tower` its eyes are random, without `adapter` it cannot reason yet."""
    tokenizer = load_tokenizer()
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration(model_config(tokenizer, len(layers))).float()
    _load_language(model, load_language_model(), layers)
    if tower is not None:
        weights = {name: tensor.float() for name, tensor in load_file(tower).items()}
        model.model.visual.load_state_dict(weights, strict=True)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=False
    )
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    return model, tokenizer


def _load_language(
    model: Qwen2_5_VLForConditionalGeneration, language: PreTrainedModel, layers: Sequence[int]
) -> None:
    """Copy the Llama weights of the kept layers; zero the biases that Llama does not have."""
    source = language.state_dict()
    kept = {old: new for new, old in enumerate(layers)}
    target = model.model.language_model.state_dict()
    renamed: dict[str, torch.Tensor] = {}
    for name, tensor in source.items():
        name = name.removeprefix("model.")
        if name.startswith("layers."):
            old, rest = name.removeprefix("layers.").split(".", 1)
            if int(old) in kept:
                renamed[f"layers.{kept[int(old)]}.{rest}"] = tensor
        elif name != "lm_head.weight":
            renamed[name] = tensor
    rows = source["model.embed_tokens.weight"]
    # New tokens start at the mean embedding: far enough from every word, and in the right region.
    padded = rows.mean(0, keepdim=True).repeat(target["embed_tokens.weight"].shape[0], 1)
    padded[: rows.shape[0]] = rows
    renamed["embed_tokens.weight"] = padded
    biases = {name: torch.zeros_like(t) for name, t in target.items() if name.endswith("proj.bias")}
    model.model.language_model.load_state_dict(renamed | biases, strict=True)
    model.tie_weights()


def image_processor() -> Qwen2VLImageProcessorPil:
    """Qwen2.5-VL's own preprocessing, held to the lab's small pictures."""
    pixels = PICTURE_SIZE * PICTURE_SIZE
    return Qwen2VLImageProcessorPil(
        patch_size=PATCH_SIZE,
        merge_size=MERGE,
        size={"shortest_edge": pixels, "longest_edge": pixels},
    )


def processor(tokenizer: PreTrainedTokenizerFast) -> Qwen2_5_VLProcessor:
    """Tokenizer and image processor as one, the way every consumer loads them."""
    return Qwen2_5_VLProcessor(
        image_processor=image_processor(),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(patch_size=PATCH_SIZE, merge_size=MERGE),
        chat_template=tokenizer.chat_template,
    )


def save_base(directory: Path, tower: Path | None, adapter: Path | None) -> bool:
    """Write the base checkpoint unless it is there already; True if it was built.

    The directory appears whole or not at all, and several processes may ask for it at once.
    """
    stamp = _stamp(tower, adapter)
    directory.parent.mkdir(parents=True, exist_ok=True)
    with (directory.parent / f".{directory.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (directory / STAMP_FILE).is_file() and (directory / STAMP_FILE).read_text() == stamp:
            return False
        partial = directory.with_name(f".{directory.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        model, tokenizer = assemble(tower, adapter)
        model.save_pretrained(partial)
        processor(tokenizer).save_pretrained(partial)
        (partial / STAMP_FILE).write_text(stamp)
        shutil.rmtree(directory, ignore_errors=True)
        os.replace(partial, directory)
    return True


def _stamp(tower: Path | None, adapter: Path | None) -> str:
    """What a base directory was made of; a change in any of it makes the directory stale."""
    parts = [tower, *((adapter / CONFIG_FILE, adapter / WEIGHTS_FILE) if adapter else ())]
    digests = [hashlib.sha256(part.read_bytes()).hexdigest() for part in parts if part]
    sources = (Path(__file__), Path(language.__file__))
    code = [hashlib.sha256(source.read_bytes()).hexdigest() for source in sources]
    made_of = {
        "id": BASE_ID,
        "layers": KEPT_LAYERS,
        "code": code,
    }
    return json.dumps(made_of | {"weights": digests}, indent=2) + "\n"
