"""The base architectures that can be trained: what each needs, and how its checkpoint is loaded.

Knows nothing of rows, losses or recipes. Module names are those of transformers 5.19.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from align.train.errors import TrainingFailed

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, ProcessorMixin
    from trl.trainer.dpo_trainer import DataCollatorForVisionPreference
    from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling


@dataclass(frozen=True, slots=True)
class BaseKind:
    """One architecture: how its models reason, where a LoRA goes, and how the result is served."""

    architecture: str
    """As `architectures` in config.json spells it."""
    family: str
    reasoning_format: str
    """Name in `policies.formats.FORMATS` of what the family's reasoning models write."""
    target_modules: str
    """Regular expression over whole module names: every projection of the language layers and nothing else.

    A plain list of names would also hit the towers: Qwen2.5-VL's and GLM's have a gate_proj too, InternVL's
    and Mllama's a q_proj.
    """
    served_as: Literal["adapter", "merged"]
    """Merged: no current engine loads a LoRA for this architecture."""


_LANGUAGE_LAYERS = r".*language_model\.layers\..*\.(q_proj|k_proj|v_proj|o_proj|{}|down_proj)"
_LLAMA_LIKE = _LANGUAGE_LAYERS.format("gate_proj|up_proj")
_FUSED_GATE = _LANGUAGE_LAYERS.format("gate_up_proj")

_ALL = (
    BaseKind("Qwen2_5_VLForConditionalGeneration", "Qwen2.5-VL", "think", _LLAMA_LIKE, "adapter"),
    BaseKind("Qwen3VLForConditionalGeneration", "Qwen3-VL", "think_prefilled", _LLAMA_LIKE, "adapter"),
    BaseKind("Glm4vForConditionalGeneration", "GLM-4V", "glm_box", _FUSED_GATE, "adapter"),
    BaseKind("InternVLForConditionalGeneration", "InternVL", "think", _LLAMA_LIKE, "adapter"),
    # Self-attention and cross-attention layers alike; vLLM dropped the architecture after 0.10.
    BaseKind("MllamaForConditionalGeneration", "Mllama", "llava_cot", _LLAMA_LIKE, "merged"),
)

BASE_KINDS: Mapping[str, BaseKind] = MappingProxyType({kind.architecture: kind for kind in _ALL})
"""Every known base by architecture."""


def kind_of(directory: Path) -> BaseKind:
    """What lies in `directory`, by its config.json; TrainingFailed if it is no base that we train."""
    file = directory / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        (architecture,) = config["architectures"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingFailed(
            f"{file} names no architecture ({error!r}): the base must be a checkpoint directory"
        ) from error
    kind = BASE_KINDS.get(architecture)
    if kind is None:
        known = ", ".join(f"{kind.family} ({kind.architecture})" for kind in _ALL)
        raise TrainingFailed(f"{directory} is a {architecture}; the bases that can be trained are {known}")
    return kind


def load_base(directory: Path, dtype: "torch.dtype") -> "PreTrainedModel":
    """The model in `directory`, its class by its architecture.

    TrainingFailed if weights are missing: transformers would fill them in at random and only warn.
    """
    from transformers import AutoModelForImageTextToText

    kind_of(directory)
    model: PreTrainedModel
    model, report = AutoModelForImageTextToText.from_pretrained(
        directory, dtype=dtype, output_loading_info=True
    )
    if missing := sorted(report["missing_keys"]):
        raise TrainingFailed(f"{directory} has no weights for {missing[0]} and {len(missing) - 1} others")
    return model


def load_processor(directory: Path) -> "ProcessorMixin":
    """Tokenizer, image processor and chat template of the base in `directory`."""
    from transformers import AutoProcessor

    processor: ProcessorMixin = AutoProcessor.from_pretrained(directory)
    return processor


def completion_collator(
    kind: BaseKind, processor: "ProcessorMixin"
) -> "DataCollatorForVisionLanguageModeling | None":
    """SFTTrainer's `data_collator` for rows of prompt, completion and images; None: TRL's will do."""
    if kind.family != "Mllama":
        return None
    from align.train.mllama import MllamaCompletionCollator

    return MllamaCompletionCollator(processor, completion_only_loss=True)


def preference_collator(
    kind: BaseKind, processor: "ProcessorMixin"
) -> "DataCollatorForVisionPreference | None":
    """DPOTrainer's `data_collator` for rows of prompt, chosen, rejected and images; None: TRL's will do."""
    if kind.family != "Mllama":
        return None
    from align.train.mllama import MllamaPreferenceCollator

    return MllamaPreferenceCollator(processor)
