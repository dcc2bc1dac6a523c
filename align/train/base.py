"""A base model on its way into a training: kind and processor first, weights once all else fits."""

import os
import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedModel, ProcessorMixin

from align.train import memory
from align.train.bases import BaseKind, kind_of, load_base, load_processor
from align.train.template import check_template
from align.training_tables import Training
from policies.formats import FORMATS

_WIDTHS = {"bf16": 2, "float32": 4}
_DTYPES = {"bf16": torch.bfloat16, "float32": torch.float32}


@dataclass(frozen=True)
class Prepared:
    """A base whose weights are not loaded yet."""

    directory: Path
    kind: BaseKind
    processor: ProcessorMixin

    def load(self, settings: Training) -> PreTrainedModel:
        """The weights, in the recipe's precision."""
        return load_base(self.directory, _DTYPES[settings.base_weights])

    def check_memory(
        self,
        settings: Training,
        tokens: int,
        *,
        sequences: int,
        adapters: int,
        rank: int,
        targets: str | None,
    ) -> None:
        """TrainingFailed where `sequences` of `tokens` for each row at once would not fit."""
        shape = self.shape(targets or self.kind.target_modules)
        if torch.cuda.is_available() and os.environ.get("ACCELERATE_USE_FSDP") == "true":
            shape = replace(shape, parameters=shape.parameters // processes())
        rows = settings.micro_batch_size or max(1, settings.batch_size // processes())
        needed = memory.estimate(
            shape,
            rank=rank,
            adapters=adapters,
            tokens=tokens * rows * sequences,
            weight_bytes=_WIDTHS[settings.base_weights],
            product_bytes=_WIDTHS[settings.precision],
            twice=recomputes(settings),
        )
        free, where = memory.free_memory()
        # Processes have a GPU each, but share a machine's memory.
        memory.check(needed, free if torch.cuda.is_available() else free // processes(), where)

    def shape(self, targets: str) -> memory.Shape:
        """Counted on a model without weights."""
        config = self._config
        with torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(config)
        text = config.get_text_config()
        pattern = re.compile(targets)
        return memory.Shape(
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            lora_parameters_per_rank=sum(
                sum(module.weight.shape)
                for name, module in model.named_modules()
                if isinstance(module, torch.nn.Linear) and pattern.fullmatch(name)
            ),
            layers=text.num_hidden_layers,
            hidden=text.hidden_size,
            intermediate=text.intermediate_size,
        )

    @cached_property
    def _config(self) -> Any:
        return AutoConfig.from_pretrained(self.directory)


def prepared(directory: Path, reasoning_format: str) -> Prepared:
    """TrainingFailed where it is no base that we train, or none that can learn to reply in this format."""
    kind, processor = kind_of(directory), load_processor(directory)
    check_template(directory, processor, FORMATS[reasoning_format])
    return Prepared(directory, kind, processor)


def processes() -> int:
    """How many train together."""
    return int(PartialState(cpu=not torch.cuda.is_available()).num_processes)


def recomputes(settings: Training) -> bool:
    """Whether activations are computed twice: on a GPU, unless the recipe says otherwise."""
    if settings.gradient_checkpointing is None:
        return torch.cuda.is_available()
    return settings.gradient_checkpointing
