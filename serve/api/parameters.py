"""Parameters that cannot be had, each refused by its name.

What is not here is passed on to the engine untouched. What an engine of another kind would ignore is
refused by `serve/engine/kinds.py`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from serve.errors import UnsupportedParameter
from serve.gate.values import Handling, Mode

Json = dict[str, Any]

FORGING: Mapping[str, object] = {
    "echo": False,
    "continue_final_message": False,
    "add_generation_prompt": True,
    "chat_template": None,
    "truncate_prompt_tokens": None,
    "truncation_side": None,
    "mm_processor_kwargs": None,
    "media_io_kwargs": None,
    "lora_path": None,
}
"""With these a caller could put words into the model's mouth, have its own returned as the model's, or have
the engine see and ask something else than guards and audit are told."""
RENDERING: Final = frozenset({
    "conversation",
    "max_length",
    "padding",
    "processor_kwargs",
    "tokenize",
    "tokenizer_kwargs",
    "truncation",
})  # fmt: skip
"""No variables of a chat template, but what its renderer takes beside them: with these it cuts the prompt, or
draws pictures otherwise."""
NO_VARIABLES: Final = frozenset({*FORGING, *RENDERING})
"""Refused in `chat_template_kwargs`, whatever their value."""

UNREAD: Mapping[str, tuple[object, ...]] = {
    "functions": ([],),
    "function_call": ("none",),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "web_search_options": (),
    "store": (False,),
    "moderation": (),
    "kv_transfer_params": (),
    "ec_transfer_params": (),
    "vllm_xargs": (),
    "custom_logit_processor": (),
    "custom_params": (),
    "session_params": (),
    "return_hidden_states": (False,),
    "use_beam_search": (False,),
    "documents": ([],),
    "mm_payload": (),
    "top_logprobs": (0,),
    "prompt_logprobs": (),
    "logprob_token_ids": ([],),
    "return_token_ids": (False,),
    "return_tokens_as_token_ids": (False,),
    "return_token_offsets": (False,),
    "return_prompt_text": (False,),
    "return_mm_kwargs": (False,),
    "include_reasoning": (True,),
}
"""They bring something in or out that nobody scans, with the values at which they do not."""
_INSTEAD = {
    "include_reasoning": "what is left out cannot be read; safety.trace = none hides it from the reply",
    "functions": "use tools",
    "function_call": "use tool_choice",
    "documents": "put them into messages",
    "truncate_prompt_tokens": "what is cut off may be the beginning of the model's turn; send less",
    "truncation_side": "what is cut off may be the beginning of the model's turn; send less",
    "mm_processor_kwargs": "the engine would see another picture than the guards",
    "media_io_kwargs": "the engine would see another picture than the guards",
    "lora_path": "model says who answers",
}

STEERING: Mapping[str, tuple[object, ...]] = {
    "logit_bias": ({},),
    "bad_words": ([],),
    "allowed_token_ids": ([],),
}
"""They could forbid a model the words of its verdict."""

FORMS: Mapping[str, Callable[[Any], bool]] = {
    "response_format": lambda value: not (isinstance(value, dict) and value.get("type") == "text"),
    "structured_outputs": bool,
    "guided_json": bool,
    "guided_regex": bool,
    "guided_choice": bool,
    "guided_grammar": bool,
    "regex": bool,
    "ebnf": bool,
    "tool_choice": lambda value: value not in ("none", "auto"),
}
"""They give the whole reply a form, in which there is no place for a trace; and whether they do."""


_FORGES = "it could forge a reasoning trace"


def why_refused(name: str) -> str:
    """In a few words, and what to do instead."""
    if name in FORGING:
        return _INSTEAD.get(name, _FORGES)
    if name in STEERING:
        return "it could forbid the model its verdict; the base alias takes it"
    if name in FORMS:
        return (
            "it leaves no place for the reasoning trace that this model owes; the base alias takes it, "
            "and so does an engine with a reasoning parser (engine.pools, reasoning_parser)"
        )
    return _INSTEAD.get(name, "nothing here scans what it brings; leave it out")


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What decides beside the request's own words."""

    handling: Handling
    parses_reasoning: bool
    """The engine reads the reasoning itself: what gives a reply its form begins behind it."""


def check(body: Json, where: Circumstances) -> None:
    """Raises UnsupportedParameter for the first that cannot be had. `null` is as good as absent."""
    check_forging(body)
    for name, why in _refused(body, where):
        raise UnsupportedParameter(f"{name} is not supported: {why}", param=name)


def check_forging(body: Json) -> None:
    """Those that no mode lets through; raises UnsupportedParameter."""
    for name in _forging(body):
        raise UnsupportedParameter(f"{name} is not supported: {why_refused(name)}", param=name)


def _refused(body: Json, where: Circumstances) -> Iterator[tuple[str, str]]:
    if where.handling.mode is Mode.OBSERVE:
        return
    for name, harmless in UNREAD.items():
        if says_more(body.get(name), harmless):
            yield name, why_refused(name)
    yield from _stream_options(body)
    if body.get("logprobs") and where.handling.shown != "full":
        yield "logprobs", "they would show the reasoning that safety.trace hides"
    if where.handling.requires_trace:
        yield from _against_the_trace(body, where.parses_reasoning)


def _forging(body: Json) -> Iterator[str]:
    variables = body.get("chat_template_kwargs")
    for name, harmless in FORGING.items():
        if says_more(body.get(name), (harmless,)):
            yield name
    if isinstance(variables, dict):
        yield from (f"chat_template_kwargs.{name}" for name in variables if name in NO_VARIABLES)


def _stream_options(body: Json) -> Iterator[tuple[str, str]]:
    options = body.get("stream_options")
    for name in ("continuous_usage_stats", "include_obfuscation"):
        if isinstance(options, dict) and says_more(options.get(name), (False,)):
            yield f"stream_options.{name}", "text leaves as it is released, not token by token"


def _against_the_trace(body: Json, parses_reasoning: bool) -> Iterator[tuple[str, str]]:
    for name, harmless in STEERING.items():
        if says_more(body.get(name), harmless):
            yield name, why_refused(name)
    if parses_reasoning:
        return
    for name, gives_form in FORMS.items():
        if body.get(name) is not None and gives_form(body[name]):
            yield name, why_refused(name)


def says_more(value: Any, harmless: Iterable[object]) -> bool:
    """Whether a parameter asks for something; `null` is as good as absent, and no number is a boolean."""
    return value is not None and not any(
        value == one and isinstance(value, bool) is isinstance(one, bool) for one in harmless
    )
