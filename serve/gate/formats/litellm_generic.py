"""LiteLLM's generic guardrail contract: whatever was made a guardrail for LiteLLM guards here, too."""

from collections.abc import Sequence

from serve.gate.formats.family import (
    PICTURES,
    SAFE,
    TEXTS,
    Ask,
    GuardOptions,
    Json,
    Unreadable,
    Verdict,
    picture_url,
)
from serve.gate.values import Conversation, Excerpt, Stage

PATH = "/beta/litellm_basic_guardrail_api"


class LiteLlmGeneric:
    """Judges texts and pictures."""

    name = "litellm_generic"
    stages = TEXTS | PICTURES
    key_header = "x-api-key"

    def ask(self, excerpt: Excerpt, about: Conversation, options: GuardOptions) -> Sequence[Ask]:
        """As LiteLLM asks; of the caller it is told nothing."""
        is_reply = excerpt.stage in (Stage.REASONING, Stage.ANSWER)
        picture = excerpt.picture
        body = {
            "texts": [] if picture is not None else [excerpt.text],
            "images": None if picture is None else [picture_url(picture)],
            "tools": None,
            "structured_messages": None,
            "request_data": {},
            "input_type": "response" if is_reply else "request",
            "litellm_call_id": about.request_id,
            "litellm_trace_id": about.request_id,
            "additional_provider_specific_params": {"model": options.model} if options.model else {},
        }
        return [Ask(PATH, body)]

    def read(self, replies: Sequence[Json], options: GuardOptions) -> Verdict:
        """Nothing is rewritten here, so a guardrail that wants to rewrite blocks."""
        (reply,) = replies
        match reply.get("action"):
            case "NONE":
                return SAFE
            case "BLOCKED":
                return Verdict(blocks=True)
            case "GUARDRAIL_INTERVENED":
                return Verdict(blocks=True, category="rewrite")
            case _:
                raise Unreadable("no action that is known")
