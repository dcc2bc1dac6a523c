"""Stage 1: supervised fine-tuning of a LoRA adapter on (image, instruction, completion) rows, with TRL.

L_SFT = -E log pi(z, a | x): the loss covers the completion only (PST, stage 1).
Language layers only: vLLM loads an adapter that touches the vision tower and silently ignores that part.
"""

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, Features, Image, List, Value
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoProcessor,
    PreTrainedModel,
    Qwen2_5_VLForConditionalGeneration,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from trl import SFTConfig, SFTTrainer

from align.recipe_tables import Sft
from align.records import Example
from policies.bundle import CONFIG_FILE, WEIGHTS_FILE
from policies.prompt import student_messages

CURVE_FILE = "training.json"


class TrainingFailed(Exception):
    """Training that must not end in a bundle; the message says at which step and why."""


def load_base(directory: Path) -> PreTrainedModel:
    """The base model in float32, its class by its architecture."""
    architecture = AutoConfig.from_pretrained(directory).architectures[0]
    if architecture != "Qwen2_5_VLForConditionalGeneration":
        raise TrainingFailed(f"{directory} is a {architecture}; this trainer knows Qwen2.5-VL bases so far")
    model: PreTrainedModel = Qwen2_5_VLForConditionalGeneration.from_pretrained(
        directory, dtype=torch.float32
    )
    return model


def train_adapter(
    rows: Sequence[Example],
    images_root: Path,
    settings: Sft,
    base: Path,
    out: Path,
    *,
    stop_after: int | None = None,
) -> list[float]:
    """Train, write adapter config, weights (bf16) and loss curve to `out`; returns the loss per step.

    `stop_after` ends a run early with its schedule unchanged. TrainingFailed on a loss that is not finite.
    """
    out.mkdir(parents=True, exist_ok=True)
    trainer = _trainer(_dataset(rows, images_root), settings, base, out, stop_after)
    trainer.train()
    curve = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    _save(trainer.model, out)
    (out / CURVE_FILE).write_text(json.dumps({"loss": curve}) + "\n", encoding="utf-8")
    return curve


def _trainer(dataset: Dataset, settings: Sft, base: Path, out: Path, stop_after: int | None) -> SFTTrainer:
    torch.manual_seed(settings.seed)
    return CompletionTrainer(
        model=load_base(base),
        args=_arguments(settings, out, len(dataset)),
        train_dataset=dataset,
        processing_class=AutoProcessor.from_pretrained(base),
        peft_config=LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            lora_dropout=settings.dropout,
            target_modules=settings.target_modules,
        ),
        callbacks=[_Watch(stop_after)],
    )


def _arguments(settings: Sft, out: Path, rows: int) -> SFTConfig:
    steps = math.ceil(rows / settings.batch_size) * settings.epochs
    return SFTConfig(
        output_dir=str(out / "checkpoints"),
        seed=settings.seed,
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=round(steps * settings.warmup_share),
        max_length=None,  # cutting a row would cut image tokens or the end of an answer
        use_cpu=not torch.cuda.is_available(),
        bf16=settings.precision == "bf16",
        gradient_checkpointing=torch.cuda.is_available(),
        logging_steps=1,
        logging_nan_inf_filter=False,  # by default a loss that is no number is logged as 0
        save_strategy="no",
        report_to=[],
        dataloader_pin_memory=torch.cuda.is_available(),
    )


def _dataset(rows: Sequence[Example], images_root: Path) -> Dataset:
    """TRL's prompt/completion columns; the prompt is what applications send for the same request."""
    text = Value("string")
    columns: dict[str, list[Any]] = {
        "prompt": [student_messages(row.instruction, [{"type": "image"}]) for row in rows],
        "completion": [[{"role": "assistant", "content": row.completion}] for row in rows],
        "images": [[str(images_root / row.image)] for row in rows],
    }
    features = Features(
        {
            "prompt": List({"role": text, "content": List({"type": text, "text": text})}),
            "completion": List({"role": text, "content": text}),
            "images": List(Image()),
        }
    )
    return Dataset.from_dict(columns, features=features)


class CompletionTrainer(SFTTrainer):  # type: ignore[misc]  # TRL is untyped here
    """SFTTrainer whose language head sees the completion's positions only.

    TRL's fused head scores every position where Triton is missing (TRL 1.16, `add_fused_lm_head`): on a CPU
    that is a large share of a step. Same loss, same labels.
    """

    def compute_loss(
        self,
        model: PeftModel,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Mean negative log-likelihood of the completion tokens; `return_outputs` is never asked for."""
        if return_outputs:
            raise TrainingFailed("this trainer does not evaluate: the evaluation stage does")
        labels = inputs.pop("labels")[:, 1:]
        base = self.accelerator.unwrap_model(model).get_base_model()
        hidden = base.model(**inputs, use_cache=False).last_hidden_state[:, :-1]
        wanted = labels != -100
        logits = base.lm_head(hidden[wanted]).float()
        total = torch.nn.functional.cross_entropy(logits, labels[wanted], reduction="sum")
        return total / (num_items_in_batch if num_items_in_batch is not None else wanted.sum())


class _Watch(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Stops on a loss that is not a number, and at an early end that was asked for."""

    def __init__(self, stop_after: int | None) -> None:
        self._stop_after = stop_after

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: object,
    ) -> None:
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            raise TrainingFailed(f"the loss is {loss} at step {state.global_step}: lower the learning rate")

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        if self._stop_after is not None and state.global_step >= self._stop_after:
            control.should_training_stop = True


def _save(model: PeftModel, out: Path) -> None:
    """Write config and weights only, the weights in bfloat16 as they are published."""
    shutil.rmtree(out / "checkpoints", ignore_errors=True)
    written = out / "peft"
    model.save_pretrained(written)
    tensors = load_file(written / WEIGHTS_FILE)
    if touched := [name for name in tensors if "visual" in name]:
        raise TrainingFailed(
            f"the adapter touches the vision tower ({touched[0]}): engines would ignore it there"
        )
    save_file({name: t.to(torch.bfloat16) for name, t in tensors.items()}, out / WEIGHTS_FILE)
    config = json.loads((written / CONFIG_FILE).read_text())
    config["base_model_name_or_path"] = None  # a path of this machine says nothing elsewhere
    (out / CONFIG_FILE).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    shutil.rmtree(written)
