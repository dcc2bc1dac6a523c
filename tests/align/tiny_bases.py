"""Tiny random checkpoints of every base architecture that is trained, made on the spot and whole.

Each has weights, config, tokenizer, image processor and a chat template of the family's form, so all that
loads a published checkpoint loads it too. Widths are the least that vLLM's CPU attention takes (heads of 32).
Weights are scaled so that every part matters (image, gates, biases) and the likeliest token is no near-tie.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    Glm4vConfig,
    Glm4vImageProcessor,
    Glm4vProcessor,
    Glm4vVideoProcessor,
    GotOcr2ImageProcessor,
    InternVLConfig,
    InternVLProcessor,
    InternVLVideoProcessor,
    MllamaConfig,
    MllamaImageProcessor,
    MllamaProcessor,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    ProcessorMixin,
    Qwen2_5_VLConfig,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLConfig,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

SENTENCES = (
    "The picture shows a red circle and a blue square on a white table.",
    "Which object is larger? The circle is larger than the square.",
    "I can't help with that, but here is something safe to do instead.",
)
PATCH = 14
SIDE = 56
"""Pixels on a side of a picture, or of a tile of one."""

TEXT = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
}
TOWER = {"hidden_size": 64, "intermediate_size": 128, "patch_size": PATCH}
PATCHWORK_TOWER = TOWER | {"depth": 2, "num_heads": 2, "out_hidden_size": TEXT["hidden_size"]}
"""Of the families whose pictures are one long row of patches, merged two by two."""
PIXELS = {"size": {"shortest_edge": SIDE * SIDE, "longest_edge": 4 * SIDE * SIDE}, "patch_size": PATCH}


@dataclass(frozen=True)
class Spelling:
    """How a family writes a conversation: `{{ role }}` stands for who speaks."""

    start: str
    turn: str
    picture: str
    end: str
    prefill: str = ""
    """What the template writes before every reply's own text."""

    @property
    def template(self) -> str:
        """The chat template; the generation prompt is how an assistant's turn begins."""
        turn = self.turn.replace("ROLE", "' + role + '")
        return (
            f"{{{{- '{self.start}' -}}}}"
            "{%- for message in messages -%}"
            "{%- set role = message['role'] -%}"
            f"{{{{- '{turn}' -}}}}"
            f"{{%- if role == 'assistant' -%}}{{{{- '{self.prefill}' -}}}}{{%- endif -%}}"
            "{%- if message['content'] is string -%}{{- message['content'] -}}{%- else -%}"
            "{%- for part in message['content'] -%}"
            "{%- if part['type'] == 'text' -%}{{- part['text'] -}}"
            f"{{%- else -%}}{{{{- '{self.picture}' -}}}}{{%- endif -%}}"
            "{%- endfor -%}{%- endif -%}"
            f"{{{{- '{self.end}' -}}}}"
            "{%- endfor -%}"
            "{%- if add_generation_prompt -%}{%- set role = 'assistant' -%}"
            f"{{{{- '{turn}{self.prefill}' -}}}}"
            "{%- endif -%}"
        )


CHATML_TURN = "<|im_start|>ROLE\\n"
CHATML_END = "<|im_end|>\\n"
QWEN_PICTURE = "<|vision_start|><|image_pad|><|vision_end|>"
QWEN_TOKENS = ("<|im_start|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
GLM_TOKENS = (
    *("[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|image|>", "<|video|>"),
    *("<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>"),
)


@dataclass(frozen=True)
class Tiny:
    """One architecture's recipe."""

    spelling: Spelling
    end_of_turn: str
    """The token that ends a reply."""
    tokens: Sequence[str]
    """Special tokens beside that one."""
    config: Callable[[Callable[[str], int], Mapping[str, Any]], PreTrainedConfig]
    """From token ids and the text settings."""
    processor: Callable[[PreTrainedTokenizerFast], ProcessorMixin]
    named_tokens: Mapping[str, str] | None = None
    """Tokens that the processor looks up by name."""


def tiny_base(architecture: str, directory: Path, seed: int = 0) -> Path:
    """Write the checkpoint of `architecture` to `directory`; the same seed gives the same weights."""
    tiny = TINY[architecture]
    tokenizer = _tokenizer(tiny)

    def ids(token: str) -> int:
        found: int = tokenizer.convert_tokens_to_ids(token)
        return found

    eos, pad = ids(tiny.end_of_turn), ids("<|endoftext|>")
    settings = {"vocab_size": len(tokenizer), "bos_token_id": None, "eos_token_id": eos, "pad_token_id": pad}
    config = tiny.config(ids, TEXT | settings)
    config.architectures = [architecture]
    torch.manual_seed(seed)
    model: PreTrainedModel = getattr(transformers, architecture)(config).float()
    _scale(model)
    model.generation_config = GenerationConfig(eos_token_id=eos, pad_token_id=pad, do_sample=False)
    model.save_pretrained(directory)
    tiny.processor(tokenizer).save_pretrained(directory)
    return directory


def _tokenizer(tiny: Tiny) -> PreTrainedTokenizerFast:
    """Byte-level BPE over three sentences."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator(SENTENCES, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=tiny.end_of_turn,
        pad_token="<|endoftext|>",
        extra_special_tokens=dict(tiny.named_tokens or {}),
        model_max_length=4096,
        padding_side="left",
    )
    tokenizer.add_tokens(list(tiny.tokens), special_tokens=True)
    if "<|begin_of_text|>" in tiny.tokens:
        tokenizer.bos_token = "<|begin_of_text|>"
    tokenizer.chat_template = tiny.spelling.template
    return tokenizer


@torch.no_grad()
def _scale(model: PreTrainedModel) -> None:
    """Activations of about one everywhere, logits of about four; nothing that multiplies by zero."""
    for name, weight in model.named_parameters():
        if name == "lm_head.weight":
            weight.normal_(std=4 * weight[0].numel() ** -0.5)
        elif "embed" in name and "patch_embed" not in name:
            weight.normal_()
        elif weight.dim() > 1:
            weight.normal_(std=weight[0].numel() ** -0.5)
        elif name.endswith("bias"):
            weight.normal_(std=0.1)
        elif "norm" in name:
            weight.normal_(mean=1, std=0.1)
        else:  # gates and layer scales, which begin at nothing
            weight.fill_(0.5)


def _rope(**sections: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, **sections}}


def _qwen2_5_vl(ids: Callable[[str], int], text: Mapping[str, Any]) -> PreTrainedConfig:
    return Qwen2_5_VLConfig(
        text_config={**text, **_rope(mrope_section=[4, 6, 6])},
        vision_config=PATCHWORK_TOWER | {"window_size": SIDE, "fullatt_block_indexes": [1]},
        **_qwen_ids(ids),
    )


def _qwen3_vl(ids: Callable[[str], int], text: Mapping[str, Any]) -> PreTrainedConfig:
    return Qwen3VLConfig(
        text_config={**text, "head_dim": 32, **_rope(mrope_section=[6, 5, 5], mrope_interleaved=True)},
        vision_config=PATCHWORK_TOWER | {"num_position_embeddings": 16, "deepstack_visual_indexes": [0]},
        **_qwen_ids(ids),
    )


def _qwen_ids(ids: Callable[[str], int]) -> dict[str, Any]:
    return {
        "image_token_id": ids("<|image_pad|>"),
        "video_token_id": ids("<|video_pad|>"),
        "vision_start_token_id": ids("<|vision_start|>"),
        "vision_end_token_id": ids("<|vision_end|>"),
        "tie_word_embeddings": False,
    }


def _glm4v(ids: Callable[[str], int], text: Mapping[str, Any]) -> PreTrainedConfig:
    return Glm4vConfig(
        text_config={
            **text,
            "attention_bias": True,
            **_rope(mrope_section=[2, 3, 3], partial_rotary_factor=0.5),
        },
        vision_config=PATCHWORK_TOWER | {"image_size": SIDE},
        image_token_id=ids("<|image|>"),
        video_token_id=ids("<|video|>"),
        image_start_token_id=ids("<|begin_of_image|>"),
        image_end_token_id=ids("<|end_of_image|>"),
        video_start_token_id=ids("<|begin_of_video|>"),
        video_end_token_id=ids("<|end_of_video|>"),
        tie_word_embeddings=False,
    )


def _internvl(ids: Callable[[str], int], text: Mapping[str, Any]) -> PreTrainedConfig:
    layers = {"num_hidden_layers": 2, "num_attention_heads": 2, "image_size": SIDE}
    return InternVLConfig(
        text_config={**text, "model_type": "qwen3", "head_dim": 32, **_rope()},
        vision_config=TOWER | layers,
        image_token_id=ids("<IMG_CONTEXT>"),
        image_seq_length=(SIDE // PATCH // 2) ** 2,
        tie_word_embeddings=False,
    )


def _mllama(ids: Callable[[str], int], text: Mapping[str, Any]) -> PreTrainedConfig:
    # The picture's token comes last and has no output row, as in the published checkpoints.
    vocabulary = ids("<|image|>")
    tower = TOWER | {"num_hidden_layers": 2, "num_global_layers": 1, "attention_heads": 2, "image_size": SIDE}
    return MllamaConfig(
        text_config={
            **text,
            "vocab_size": vocabulary,
            "num_hidden_layers": 4,
            "cross_attention_layers": [1, 3],
        }
        | {"bos_token_id": ids("<|begin_of_text|>"), **_rope()},
        vision_config=tower | {"intermediate_layers_indices": [0], "vision_output_dim": 128},
        image_token_index=vocabulary,
        tie_word_embeddings=False,
    )


def _qwen2_5_vl_processor(tokenizer: PreTrainedTokenizerFast) -> ProcessorMixin:
    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(**PIXELS),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(**PIXELS),
        chat_template=tokenizer.chat_template,
    )


def _qwen3_vl_processor(tokenizer: PreTrainedTokenizerFast) -> ProcessorMixin:
    return Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(**PIXELS),
        tokenizer=tokenizer,
        video_processor=Qwen3VLVideoProcessor(**PIXELS),
        chat_template=tokenizer.chat_template,
    )


def _glm4v_processor(tokenizer: PreTrainedTokenizerFast) -> ProcessorMixin:
    return Glm4vProcessor(
        image_processor=Glm4vImageProcessor(**PIXELS),
        tokenizer=tokenizer,
        video_processor=Glm4vVideoProcessor(**PIXELS),
        chat_template=tokenizer.chat_template,
    )


def _internvl_processor(tokenizer: PreTrainedTokenizerFast) -> ProcessorMixin:
    tile = {"size": {"height": SIDE, "width": SIDE}}
    return InternVLProcessor(
        image_processor=GotOcr2ImageProcessor(**tile, crop_to_patches=True, max_patches=4),
        tokenizer=tokenizer,
        video_processor=InternVLVideoProcessor(**tile),
        image_seq_length=(SIDE // PATCH // 2) ** 2,
        chat_template=tokenizer.chat_template,
    )


def _mllama_processor(tokenizer: PreTrainedTokenizerFast) -> ProcessorMixin:
    return MllamaProcessor(
        image_processor=MllamaImageProcessor(size={"height": SIDE, "width": SIDE}, max_image_tiles=4),
        tokenizer=tokenizer,
        chat_template=tokenizer.chat_template,
    )


TINY: Mapping[str, Tiny] = {
    "Qwen2_5_VLForConditionalGeneration": Tiny(
        Spelling("", CHATML_TURN, QWEN_PICTURE, CHATML_END),
        "<|im_end|>",
        QWEN_TOKENS,
        _qwen2_5_vl,
        _qwen2_5_vl_processor,
    ),
    "Qwen3VLForConditionalGeneration": Tiny(
        Spelling("", CHATML_TURN, QWEN_PICTURE, CHATML_END, prefill="<think>\\n"),
        "<|im_end|>",
        QWEN_TOKENS,
        _qwen3_vl,
        _qwen3_vl_processor,
    ),
    "Glm4vForConditionalGeneration": Tiny(  # nothing closes a turn but the next one, or the answer's own tag
        Spelling("[gMASK]<sop>", "<|ROLE|>\\n", "<|begin_of_image|><|image|><|end_of_image|>", ""),
        "</answer>",
        GLM_TOKENS,
        _glm4v,
        _glm4v_processor,
    ),
    "InternVLForConditionalGeneration": Tiny(
        Spelling("", CHATML_TURN, "<IMG_CONTEXT>\\n", CHATML_END),
        "<|im_end|>",
        ("<|im_start|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>"),
        _internvl,
        _internvl_processor,
        {
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
    ),
    "MllamaForConditionalGeneration": Tiny(
        Spelling(
            "<|begin_of_text|>",
            "<|start_header_id|>ROLE<|end_header_id|>\\n\\n",
            "<|image|>",
            "<|eot_id|>",
        ),
        "<|eot_id|>",
        ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|python_tag|>", "<|image|>"),
        _mllama,
        _mllama_processor,
    ),
}
