"""Every family of guard models that is understood, by the name that the settings give it."""

from collections.abc import Mapping
from types import MappingProxyType

from serve.gate.formats.family import GuardFormat
from serve.gate.formats.gpt_oss_safeguard import GptOssSafeguard
from serve.gate.formats.granite_guardian import GraniteGuardian
from serve.gate.formats.litellm_generic import LiteLlmGeneric
from serve.gate.formats.llama_guard import LlamaGuard
from serve.gate.formats.llava_guard import LlavaGuard
from serve.gate.formats.openai_moderation import OpenAiModeration
from serve.gate.formats.shield_gemma import ShieldGemma

_ALL: tuple[GuardFormat, ...] = (
    LlamaGuard(),
    GptOssSafeguard(),
    GraniteGuardian(),
    LlavaGuard(),
    ShieldGemma(),
    OpenAiModeration(),
    LiteLlmGeneric(),
)
FORMATS: Mapping[str, GuardFormat] = MappingProxyType({one.name: one for one in _ALL})
