"""Replies as tokens: written greedily by a model, or given as text.

Plain greedy decoding, whatever the checkpoint's own generation settings say (Qwen2.5-VL's have a
repetition penalty): what is measured must not depend on a sampler.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel, ProcessorMixin

from align.attention.questions import Question
from align.attention.sections import Section, Split, decoded, sections_of, split_of
from align.errors import RecipeError
from policies.formats import ReasoningFormat
from policies.prompt import student_messages

_FILLED_WITH = {"attention_mask": 1, "mm_token_type_ids": 0, "token_type_ids": 0}
"""What a prompt's inputs say of a token of the reply."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply to one question; its end mark is no part of it."""

    question: str
    text: str
    tokens: tuple[int, ...]
    sections: tuple[Section | None, ...]
    cut: bool
    """Whether it ran into the limit of tokens."""

    @property
    def split(self) -> Split:
        return split_of(self.sections)


def prompt_inputs(processor: ProcessorMixin, question: Question, model: PreTrainedModel) -> dict[str, Any]:
    """What the model gets, as in training and serving: picture and question, in its own chat template."""
    messages = student_messages(question.instruction, [{"type": "image"}])
    prompt = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    inputs = processor(
        text=[prompt], images=[question.picture()], return_tensors="pt", add_special_tokens=False
    )
    return dict(inputs.to(model.device, model.dtype))


def with_reply(prompt: Mapping[str, Any], tokens: Sequence[int]) -> dict[str, Any]:
    """The prompt's inputs with a reply behind them."""
    inputs = dict(prompt)
    ids = prompt["input_ids"]
    inputs["input_ids"] = torch.cat((ids, ids.new_tensor([list(tokens)])), 1)
    for name in _FILLED_WITH.keys() & inputs.keys():
        inputs[name] = torch.cat(
            (inputs[name], inputs[name].new_full((1, len(tokens)), _FILLED_WITH[name])), 1
        )
    if "cross_attention_mask" in inputs:  # Mllama: what is generated sees what the prompt's end saw
        mask = inputs["cross_attention_mask"]
        inputs["cross_attention_mask"] = torch.cat((mask, mask[:, -1:].expand(-1, len(tokens), -1, -1)), 1)
    return inputs


def written(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    question: Question,
    form: ReasoningFormat,
    max_tokens: int,
) -> Reply:
    """The model's own reply, greedily."""
    prompt = prompt_inputs(processor, question, model)
    ends = _ends(model.generation_config.eos_token_id)
    settings = GenerationConfig(
        max_new_tokens=max_tokens,
        do_sample=False,
        eos_token_id=ends,
        pad_token_id=model.generation_config.pad_token_id or (ends[0] if ends else None),
    )
    with torch.inference_mode():
        output = model.generate(**prompt, generation_config=settings)
    tokens = output[0, prompt["input_ids"].shape[1] :].tolist()
    stop = next((place for place, token in enumerate(tokens) if token in ends), None)
    return _reply(processor, question, tokens[:stop], form, cut=stop is None)


def given(processor: ProcessorMixin, question: Question, form: ReasoningFormat) -> Reply:
    """The reply that came with the question."""
    if question.given is None:
        raise RecipeError("--text given needs --rows with replies: the lab's situations have none")
    tokens = processor.tokenizer(question.given, add_special_tokens=False)["input_ids"]
    return _reply(processor, question, tokens, form, cut=False)


def write_replies(path: Path, replies: Iterable[Reply]) -> None:
    """One JSON object per line, for whoever doubts a number."""
    lines = (
        json.dumps(
            {
                "question": one.question,
                "split": one.split,
                "cut": one.cut,
                "tokens": len(one.tokens),
                "text": one.text,
            },
            ensure_ascii=False,
        )
        for one in replies
    )
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _reply(
    processor: ProcessorMixin, question: Question, tokens: Sequence[int], form: ReasoningFormat, *, cut: bool
) -> Reply:
    pieces = decoded(processor.tokenizer.backend_tokenizer, tokens)
    text = "".join(piece or "" for piece in pieces)
    return Reply(question.id, text, tuple(tokens), tuple(sections_of(pieces, form)), cut)


def _ends(setting: int | list[int] | None) -> list[int]:
    if setting is None:
        return []
    return [setting] if isinstance(setting, int) else list(setting)
