"""LoRA adapters: where they go in a base model, and how a trained one is written down."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file, save_file
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from align.train.bases import BaseKind
from align.train.errors import TrainingFailed
from align.training_tables import Sft
from policies.bundle import CONFIG_FILE, WEIGHTS_FILE, touches_tower

TRAINED = "default"
"""PEFT's name for the adapter that is trained; TRL keeps a frozen copy of it beside it as `ref`."""


def lora_config(settings: Sft, kind: BaseKind) -> LoraConfig:
    """Where stage 1 begins."""
    return LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        use_rslora=settings.rslora,
        target_modules=settings.target_modules or kind.target_modules,
    )


def config_of(adapter: Path) -> dict[str, Any]:
    """What stage 1 wrote of its LoRA."""
    config: dict[str, Any] = json.loads((adapter / CONFIG_FILE).read_text(encoding="utf-8"))
    return config


def going_on_with(model: PreTrainedModel, adapter: Path) -> PeftModel:
    """The base with stage 1's adapter on it, to be trained further."""
    return PeftModel.from_pretrained(model, adapter, is_trainable=True)


def check_language_only(model: PeftModel) -> None:
    """TrainingFailed where an adapter reaches beyond the language layers: engines would ignore that part."""
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    if not trained:
        raise TrainingFailed("sft.target_modules names no module of this base: nothing would be trained")
    if touched := touches_tower(trained):
        raise TrainingFailed(
            f"sft.target_modules reaches beyond the language layers ({touched[0]}, {len(touched)} in all): "
            "engines ignore an adapter there, so restrict it, or leave it out for the architecture's own"
        )


def whole_adapter(model: PeftModel) -> dict[str, torch.Tensor]:
    """What is trained, put together where processes share it out; all of them must call this."""
    return {
        name: tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        for name, tensor in model.state_dict().items()
        if f".{TRAINED}." in name
    }


def save_adapter(model: PeftModel, whole: dict[str, torch.Tensor], out: Path) -> None:
    """Write config and weights, the weights in bfloat16 as they are published."""
    partial = out / ".adapter.partial"
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial, state_dict=whole, selected_adapters=[TRAINED])
    tensors = load_file(partial / WEIGHTS_FILE)
    save_file({name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()}, partial / WEIGHTS_FILE)
    config = json.loads((partial / CONFIG_FILE).read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = None  # a path of this machine says nothing elsewhere
    (partial / CONFIG_FILE).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        os.replace(partial / name, out / name)
    shutil.rmtree(partial)
