"""Stage 2: Safety Reasoning Preference Optimization, which is DPO on chosen and rejected reasoning, with TRL.

L = -E log sigmoid(beta * [log pi/pi_ref(chosen) - log pi/pi_ref(rejected)]) (PST, stage 2; DPO, eq. 7).
Stage 1's adapter is trained further; a frozen copy of it is the reference, so both stand at the same place
at the first step: all rewards are 0 and the loss is ln 2.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from trl import DPOConfig, DPOTrainer
from trl.trainer.dpo_trainer import DataCollatorForVisionPreference

from align.records import Dropped, Pair
from align.train.adapter import TRAINED, config_of, going_on_with
from align.train.arguments import arguments
from align.train.base import Prepared, prepared
from align.train.bases import preference_collator
from align.train.rows import Collator, as_dataset, fitting, preference_rows
from align.train.session import run_session
from align.train.watched import Watched
from align.training_tables import Srpo

LABEL = "srpo"


class WatchedDPO(Watched, DPOTrainer):  # type: ignore[misc]  # TRL is untyped here
    """TRL's trainer, watched, and resumed right."""

    loss_weights: list[float]
    chosen_tokens: float | None = None
    """Of the chosen replies in a micro-batch of the step under way, as a mean over all of them."""

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, torch.Tensor]], Any]:
        """As transformers'; counts what the `sft` term is a mean over."""
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        counts = torch.tensor([_chosen_tokens(batch) for batch in batches], dtype=torch.float, device=device)
        if len(batches):
            self.chosen_tokens = float(self.accelerator.gather(counts).mean())
        return batches, items

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """As TRL's, its `sft` term weighed by tokens over the whole step.

        TRL takes its mean over a micro-batch, so that the loss would depend on how a step is cut up.
        """
        usual = self.loss_weights
        if self.chosen_tokens:
            scale = _chosen_tokens(inputs) / self.chosen_tokens
            named = zip(self.loss_types, usual, strict=True)
            self.loss_weights = [weight * scale if name == "sft" else weight for name, weight in named]
        try:
            return super().compute_loss(model, inputs, *args, **kwargs)
        finally:
            self.loss_weights = usual

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: PeftModel | None = None) -> None:
        """Also the adapter that is trained: transformers 5.19 loads those in sub-folders, TRL's `ref` alone.

        The run would otherwise go on from stage 1's adapter with a schedule half spent, and nobody would see.
        """
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if not (self.is_fsdp_enabled or self.is_deepspeed_enabled):  # whose states hold all adapters
            trained = self.accelerator.unwrap_model(model or self.model)
            trained.load_adapter(resume_from_checkpoint, TRAINED, is_trainable=True)


def _chosen_tokens(batch: dict[str, torch.Tensor]) -> int:
    """The first half of a batch are the chosen replies."""
    mask = batch["completion_mask"]
    return int(mask[: len(mask) // 2, 1:].sum())


def prefer(
    pairs: Sequence[Pair],
    images_root: Path,
    settings: Srpo,
    base: Path,
    sft_adapter: Path,
    out: Path,
    *,
    reasoning_format: str = "think",
    stop_after: int | None = None,
) -> tuple[list[float], list[Dropped]]:
    """Train `sft_adapter` further; writes to `out` as stage 1 does. The loss per step, and pairs left out."""
    trainer, dropped = srpo_trainer(pairs, images_root, settings, base, sft_adapter, out, reasoning_format)
    return run_session(trainer, out, LABEL, stop_after), dropped


def srpo_trainer(
    pairs: Sequence[Pair],
    images_root: Path,
    settings: Srpo,
    base: Path,
    sft_adapter: Path,
    out: Path,
    reasoning_format: str = "think",
) -> tuple[WatchedDPO, list[Dropped]]:
    """The trainer, ready for its first step, and the pairs that it cannot take."""
    out.mkdir(parents=True, exist_ok=True)
    ready = prepared(base, reasoning_format)
    collator = Collator(_collator(ready), images_root)
    kept, dropped, longest = fitting(preference_rows(pairs), collator, LABEL, settings)
    lora = config_of(sft_adapter)
    ready.check_memory(
        settings, longest, sequences=2, adapters=2, rank=lora["r"], targets=lora["target_modules"]
    )
    trainer = WatchedDPO(
        model=going_on_with(ready.load(settings), sft_adapter),
        args=DPOConfig(
            **arguments(settings, out, len(kept)),
            beta=settings.beta,
            loss_type=list(settings.losses),
            loss_weights=list(settings.losses.values()),
            label_smoothing=settings.label_smoothing,
            ld_alpha=settings.ld_alpha,
        ),
        train_dataset=as_dataset(kept),
        data_collator=collator,
        processing_class=ready.processor,
    )
    return trainer, dropped


def _collator(ready: Prepared) -> DataCollatorForVisionPreference:
    return preference_collator(ready.kind, ready.processor) or DataCollatorForVisionPreference(
        processor=ready.processor
    )
