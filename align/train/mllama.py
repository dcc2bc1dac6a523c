"""Batches for Mllama, whose image enters by cross-attention: two mistakes of TRL's collators put right.

TRL 1.16 takes the prompt's cross-attention mask for the whole row, so completion tokens would have no mask
(a size mismatch in the model), and Mllama's processor puts a BOS before every text that has none, so each
completion would begin with one, and be trained to.
"""

from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from transformers import MllamaProcessor
from transformers.models.mllama.processing_mllama import (
    convert_sparse_cross_attention_mask_to_dense,
    get_cross_attention_token_mask,
)
from trl.trainer.dpo_trainer import DataCollatorForVisionPreference
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling


@dataclass
class MllamaCompletionCollator(DataCollatorForVisionLanguageModeling):  # type: ignore[misc]  # untyped
    """TRL's collator for SFT on prompt and completion, with Mllama's masks over the whole row."""

    processor: MllamaProcessor

    def __post_init__(self) -> None:
        self.processor = _without_own_bos(self.processor)

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """A batch as TRL makes it, `cross_attention_mask` as long as `input_ids`."""
        return _with_masks_over_rows(super().torch_call(examples), self.processor)


@dataclass
class MllamaPreferenceCollator(DataCollatorForVisionPreference):  # type: ignore[misc]  # untyped
    """TRL's collator for DPO, with Mllama's masks over the whole row."""

    processor: MllamaProcessor

    def __post_init__(self) -> None:
        self.processor = _without_own_bos(self.processor)

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """A batch as TRL makes it, `cross_attention_mask` as long as `input_ids`."""
        return _with_masks_over_rows(super().torch_call(examples), self.processor)


def _without_own_bos(processor: MllamaProcessor) -> MllamaProcessor:
    """A processor that leaves the BOS to the chat template, which writes it."""
    processor = copy(processor)
    processor.bos_token = ""  # the empty text is in every text, so none is found to lack it
    return processor


def _with_masks_over_rows(batch: dict[str, Any], processor: MllamaProcessor) -> dict[str, Any]:
    """Cross-attention masks as the processor would have made them of the joined rows."""
    if "cross_attention_mask" not in batch:  # no row has an image
        return batch
    prompt_mask: torch.Tensor = batch["cross_attention_mask"]
    ids: torch.Tensor = batch["input_ids"]
    dense = convert_sparse_cross_attention_mask_to_dense(
        [get_cross_attention_token_mask(row, processor.image_token_id) for row in ids.tolist()],
        num_tiles=prompt_mask.amax(dim=1).sum(dim=-1).tolist(),
        max_num_tiles=prompt_mask.shape[-1],
        length=ids.shape[1],
    )
    mask = torch.from_numpy(dense).to(prompt_mask)
    batch["cross_attention_mask"] = mask * batch["attention_mask"][:, :, None, None]
    return batch
