"""From a recipe's table to the trainers' arguments: what SFT and SRPO have in common."""

import json
import math
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers.trainer import TRAINER_STATE_NAME

from align.train.base import processes, recomputes
from align.train.errors import TrainingFailed
from align.training_tables import Training

CHECKPOINTS = "checkpoints"
CHECKPOINTS_KEPT = 2
"""The last may be half written."""


def arguments(settings: Training, out: Path, rows: int) -> dict[str, Any]:
    """Keyword arguments of TRL's configurations for `rows` rows."""
    on_gpu = torch.cuda.is_available()
    if settings.tensorboard:
        if find_spec("tensorboard") is None:
            raise TrainingFailed("tensorboard = true needs the package: uv pip install tensorboard")
        # Read by transformers; by default events would lie among the checkpoints, which go.
        os.environ["TENSORBOARD_LOGGING_DIR"] = str(out / "tensorboard")
    part = settings.batch_size // processes()
    micro = min(settings.micro_batch_size or part, part)
    steps = math.ceil(rows / settings.batch_size) * settings.epochs
    return {
        "output_dir": str(out / CHECKPOINTS),
        "seed": settings.seed,
        "num_train_epochs": settings.epochs,
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": part // micro,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": settings.scheduler,
        "warmup_steps": round(steps * settings.warmup_share),
        "weight_decay": settings.weight_decay,
        "max_grad_norm": settings.max_grad_norm,
        "max_length": None,  # cutting a row would cut image tokens or the end of an answer
        "use_cpu": not on_gpu,
        "ddp_find_unused_parameters": False,  # every pass goes through every layer with an adapter
        "bf16": settings.precision == "bf16",
        "gradient_checkpointing": recomputes(settings),
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # by default a loss that is no number is logged as 0
        "save_strategy": "steps",
        "save_steps": settings.checkpoint_steps,
        "save_total_limit": CHECKPOINTS_KEPT,
        "remove_unused_columns": False,  # the collator wants ids and numbers
        "disable_tqdm": True,
        "report_to": ["tensorboard"] if settings.tensorboard else [],
        "dataloader_pin_memory": on_gpu,
        "dataloader_num_workers": 2 if on_gpu else 0,
    }


def last_checkpoint(out: Path) -> str | None:
    """The last whole checkpoint below `out`: its state is written last, so a half-written one has none.

    Half-written ones stay until they are written anew: several processes look here at once.
    """
    whole = [path for path in (out / CHECKPOINTS).glob("checkpoint-*") if _is_whole(path)]
    return str(max(whole, key=lambda path: int(path.name.rpartition("-")[2]))) if whole else None


def _is_whole(checkpoint: Path) -> bool:
    try:
        json.loads((checkpoint / TRAINER_STATE_NAME).read_bytes())
    except (OSError, ValueError):
        return False
    return True
