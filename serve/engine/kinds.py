"""How each kind of engine departs from vLLM: data, and one function a kind that shapes a request.

What an engine would silently ignore, or fail on, is refused here by its name, since a caller who is not
told would take the reply for what was asked. Read in the sources of vLLM 0.32 and 0.10.2, SGLang 0.5 and
`transformers serve` 5.19; only vLLM 0.32 and transformers are run in the tests.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from serve.errors import UnsupportedParameter
from serve.options.engine import EngineKind

Json = dict[str, Any]

_POOLS_OWN = frozenset({"model", "stream", "stream_options"})
"""Fields of a request that `Kind.head` writes."""


def _as_it_is(payload: Json) -> Json:
    return payload


@dataclass(frozen=True, slots=True)
class Kind:
    """What an engine can do, and how it is asked."""

    name: EngineKind
    adapter_path: str | None
    """Where adapters are loaded at run time; None: it serves whole models only."""
    adapter_field: str = "model"
    """Which field of a request names the adapter."""
    lists_models: bool = True
    """Whether GET /v1/models says what it serves."""
    tokenizes: bool = True
    takes_stop: bool = True
    """Whether a reply can be ended by `stop`."""
    strict: bool = True
    """Whether a grammar can hold a reply in form."""
    continuous_usage: bool = True
    """Whether every chunk can say how many tokens there are so far."""
    stops_whole: bool = True
    """Whether it stops generating when the caller of an unstreamed reply leaves."""
    reshape: Callable[[Json], Json] = _as_it_is

    @property
    def loads_adapters(self) -> bool:
        """Whether adapters can be bound to its pools."""
        return self.adapter_path is not None

    def shape(self, payload: Json) -> Json:
        """The fields of a request as this kind spells them; raises UnsupportedParameter."""
        fields = {name: value for name, value in payload.items() if name not in _POOLS_OWN}
        return self.reshape(fields)

    def head(self, model: str | None, adapter: str | None, *, streams: bool) -> Json:
        """The fields that depend on the replica: who answers, and how."""
        head = self.address(model, adapter)
        if not streams:
            return {**head, "stream": False}
        if self.name is EngineKind.TRANSFORMERS:  # sends usage unasked, and warns of the field
            return {**head, "stream": True}
        usage = {"include_usage": True, **({"continuous_usage_stats": True} if self.continuous_usage else {})}
        return {**head, "stream": True, "stream_options": usage}

    def address(self, model: str | None, adapter: str | None) -> Json:
        """The fields that name the model, and the adapter on it if there is one."""
        if adapter is None:
            return {"model": model}
        if self.adapter_field == "model":
            return {"model": adapter}
        return {"model": model, self.adapter_field: adapter}


def _vllm_0_10(fields: Json) -> Json:
    """`structured_outputs` came with 0.11; before, each form was a field."""
    return _unstructured(fields, lambda form, value: {_GUIDED[form]: value} if form in _GUIDED else None)


def _sglang(fields: Json) -> Json:
    for name in sorted(_SGLANG_IGNORES & fields.keys()):
        if fields[name] not in (None, False):
            raise _unsupported(name)
    return _unstructured(fields, _sglang_form)


def _sglang_form(form: str, value: Any) -> Json | None:
    if form == "json":
        return {"response_format": {"type": "json_schema", "json_schema": {"name": "reply", "schema": value}}}
    spelled = {"grammar": "ebnf", "regex": "regex"}.get(form)
    return {spelled: value} if spelled else None


def _transformers(fields: Json) -> Json:
    given = {name: value for name, value in fields.items() if value is not None}
    limit = given.pop("max_completion_tokens", None)
    if limit is not None:
        given.setdefault("max_tokens", limit)
    for name, harmless in _TRANSFORMERS_HARMLESS.items():
        if name in given and given[name] in harmless:
            del given[name]
    for name in sorted(given.keys() - _TRANSFORMERS_READS - _TRANSFORMERS_HINTS):
        raise _unsupported(name)
    return {name: value for name, value in given.items() if name in _TRANSFORMERS_READS}


def _unstructured(fields: Json, spell: Callable[[str, Any], Json | None]) -> Json:
    """`structured_outputs` in the words of an engine that has none."""
    asked = fields.pop("structured_outputs", None) or {}
    for form, value in asked.items():
        spelled = spell(form, value)
        if spelled is None:
            raise _unsupported(f"structured_outputs.{form}")
        fields |= spelled
    return fields


def _unsupported(name: str) -> UnsupportedParameter:
    return UnsupportedParameter(
        f"{name}: the engine of this model does not take it: leave it out", param=name
    )


_GUIDED = {
    "grammar": "guided_grammar",
    "json": "guided_json",
    "regex": "guided_regex",
    "choice": "guided_choice",
}
_SGLANG_IGNORES = frozenset({
    *_GUIDED.values(),
    "allowed_token_ids",
    "bad_words",
    "include_stop_str_in_output",
    "length_penalty",
    "mm_processor_kwargs",
    "prompt_logprobs",
    "truncate_prompt_tokens",
    "use_beam_search",
})  # fmt: skip
# Not `stop`: with a model that sees, the server fails on it.
_TRANSFORMERS_READS = frozenset({
    "chat_template_kwargs",
    "frequency_penalty",
    "logit_bias",
    "max_tokens",
    "messages",
    "seed",
    "temperature",
    "tools",
    "top_p",
})  # fmt: skip
_TRANSFORMERS_HINTS = frozenset({
    "metadata",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "user",
})  # fmt: skip
"""They ask nothing of the reply, and are left out."""
_TRANSFORMERS_HARMLESS: Mapping[str, tuple[Any, ...]] = MappingProxyType({
    "logprobs": (False,),
    "modalities": (["text"],),
    "n": (1,),
    "parallel_tool_calls": (True,),
    "presence_penalty": (0,),
    "response_format": ({"type": "text"},),
    "store": (False,),
    "tool_choice": ("auto",),
    "top_logprobs": (0,),
})  # fmt: skip
"""Values that say what it does anyway."""

KINDS: Mapping[EngineKind, Kind] = MappingProxyType({
    kind.name: kind
    for kind in (
        Kind(EngineKind.VLLM, "/v1/load_lora_adapter"),
        # Kept for models that later ones dropped, which take no adapters there (Mllama).
        Kind(EngineKind.VLLM_0_10, None, reshape=_vllm_0_10),
        Kind(EngineKind.SGLANG, "/load_lora_adapter", adapter_field="lora_path", reshape=_sglang),
        Kind(
            EngineKind.TRANSFORMERS,
            None,
            lists_models=False,  # its list is what the machine's model cache holds
            tokenizes=False,
            takes_stop=False,
            strict=False,
            continuous_usage=False,
            stops_whole=False,
            reshape=_transformers,
        ),
    )
})  # fmt: skip
"""Every kind by its name in the settings."""
