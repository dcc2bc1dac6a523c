"""Stage 1: supervised fine-tuning of a LoRA adapter on (image, instruction, completion) rows, with TRL.

L_SFT = -E log pi(z, a | x): the loss covers the completion only (PST, stage 1).
Language layers only: vLLM loads an adapter that touches the vision tower and silently ignores that part.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from trl import SFTConfig, SFTTrainer
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

from align.records import Dropped, Example
from align.train.adapter import lora_config
from align.train.arguments import arguments
from align.train.base import Prepared, prepared
from align.train.bases import completion_collator
from align.train.rows import Collator, as_dataset, fitting, sft_rows
from align.train.session import run_session
from align.train.watched import Watched
from align.training_tables import Sft

LABEL = "sft"


class WatchedSFT(Watched, SFTTrainer):  # type: ignore[misc]  # TRL is untyped here
    """TRL's trainer, watched."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        # Qwen2.5-VL and others declare that their own loss takes no count of tokens, and transformers then
        # gives none to TRL's: micro-batches would weigh the same however long their rows are.
        self.model_accepts_loss_kwargs = True


def train_adapter(
    rows: Sequence[Example],
    images_root: Path,
    settings: Sft,
    base: Path,
    out: Path,
    *,
    reasoning_format: str = "think",
    stop_after: int | None = None,
) -> tuple[list[float], list[Dropped]]:
    """Train; writes adapter config, weights (bf16) and curves to `out`. The loss per step, and rows left out.

    `reasoning_format` is the name of what the rows are written in; `stop_after` ends a run early, its
    schedule being unchanged. TrainingFailed names what is wrong.
    """
    trainer, dropped = sft_trainer(rows, images_root, settings, base, out, reasoning_format)
    return run_session(trainer, out, LABEL, stop_after), dropped


def sft_trainer(
    rows: Sequence[Example],
    images_root: Path,
    settings: Sft,
    base: Path,
    out: Path,
    reasoning_format: str = "think",
) -> tuple[WatchedSFT, list[Dropped]]:
    """The trainer, ready for its first step, and the rows that it cannot take."""
    out.mkdir(parents=True, exist_ok=True)
    ready = prepared(base, reasoning_format)
    collator = Collator(_collator(ready), images_root)
    kept, dropped, longest = fitting(sft_rows(rows), collator, LABEL, settings)
    ready.check_memory(
        settings, longest, sequences=1, adapters=1, rank=settings.rank, targets=settings.target_modules
    )
    torch.manual_seed(settings.seed)  # of the adapter's first weights, which TRL makes before it seeds
    trainer = WatchedSFT(
        model=ready.load(settings),
        args=SFTConfig(**arguments(settings, out, len(kept))),
        train_dataset=as_dataset(kept),
        data_collator=collator,
        processing_class=ready.processor,
        peft_config=lora_config(settings, ready.kind),
    )
    return trainer, dropped


def _collator(ready: Prepared) -> DataCollatorForVisionLanguageModeling:
    return completion_collator(ready.kind, ready.processor) or DataCollatorForVisionLanguageModeling(
        processor=ready.processor, completion_only_loss=True
    )
