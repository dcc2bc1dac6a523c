"""`POST /v1/moderations` and LiteLLM's guardrail: what is judged, and what is said of it."""

from collections.abc import Mapping
from typing import Final

from policies.reply import Verdict
from serve.api.guardrail import INPUT_TYPES
from serve.api.moderations import MOST_INPUTS
from serve.api.shapes.failures import ASKED, responses
from serve.api.shapes.schema import (
    BOOLEAN,
    COUNT,
    NULL,
    STRING,
    Json,
    closed,
    either,
    listed,
    only,
    opened,
    or_null,
    ref,
    told,
)
from serve.gate.wording import WITHHELD

_SLUG: Final[Json] = {"type": "string", "pattern": "^[a-z][a-z0-9_]*$"}


def _by_policy(value: Json) -> Json:
    return {"type": "object", "propertyNames": _SLUG, "additionalProperties": value}


SCHEMAS: Final[Mapping[str, Json]] = {
    "ModerationRequest": opened(
        {
            "input": either(
                STRING,
                listed(STRING, minItems=1, maxItems=MOST_INPUTS),
                listed(
                    either(ref("TextPart"), ref("ImagePart"), ref("RefusalPart")),
                    minItems=1,
                    maxItems=MOST_INPUTS,
                ),
                description="A text, several texts judged each by itself, or the parts of one message.",
            )
        },
        {
            "model": told(
                or_null(STRING), "An alias; null or one of OpenAI's names: whoever judges here.", "groundrule"
            )
        },
        examples=[{"input": "What is this?"}],
    ),
    "ModerationResult": closed(
        {
            "flagged": told(BOOLEAN, "The verdict is `refuse`."),
            "categories": told(_by_policy(BOOLEAN), "The policies, by their slugs."),
            "category_scores": told(_by_policy(only(0.0, 1.0)), "Verdicts, and no probabilities."),
            "category_applied_input_types": _by_policy(listed(only("image", "text"))),
            "safety": closed(
                {
                    "verdict": only(*Verdict),
                    "citations": listed(told(STRING, "A clause.", "P19.D2")),
                    "policy_digest": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
                    "adapter": or_null(STRING),
                }
            ),
        }
    ),
    "Moderation": closed(
        {
            "id": {"type": "string", "pattern": "^modr-"},
            "model": STRING,
            "results": listed(ref("ModerationResult"), minItems=1, maxItems=MOST_INPUTS),
        }
    ),
    "GuardrailRequest": opened(
        {"input_type": told(only(*INPUT_TYPES), "What the texts are of.")},
        {
            "texts": or_null(listed(STRING)),
            "images": told(or_null(listed(STRING)), "URLs, `data:` URLs, or base64 as it is."),
            "tool_calls": or_null(listed({"type": "object"})),
        },
        description="LiteLLM's generic guardrail; its further fields are not read.",
        examples=[{"input_type": "request", "texts": ["What is this?"]}],
    ),
    "GuardrailAnswer": either(
        _answer := closed(
            {
                "action": only("NONE"),
                "blocked_reason": NULL,
                "texts": NULL,
                "images": NULL,
                "stream_holdback_chars": told(
                    or_null(listed(COUNT)),
                    "Of a reply: how much of each text's end may still become forbidden.",
                ),
            }
        ),
        {
            **_answer,
            "properties": {
                **_answer["properties"],
                "action": only("BLOCKED"),
                "blocked_reason": only(WITHHELD),
            },
        },
        description="Nothing is rewritten: a text passes or is blocked.",
    ),
}


def _operation(id_: str, summary: str, description: str, asked: str, answer: str) -> Json:
    return {
        "operationId": id_,
        "tags": ["judging"],
        "summary": summary,
        "description": description,
        "requestBody": {"required": True, "content": {"application/json": {"schema": ref(asked)}}},
        "responses": {
            "200": {
                "description": "What our model and the guards say.",
                "content": {"application/json": {"schema": ref(answer)}},
            },
            **responses(ASKED),
        },
    }


MODERATIONS: Final = _operation(
    "create_moderation",
    "Which policies a text, or a text with a picture, violates",
    "OpenAI's shape. Without a verdict the answer is a 503 of code `undecided`, never `not flagged`.",
    "ModerationRequest",
    "Moderation",
)
GUARDRAIL: Final = _operation(
    "apply_guardrail",
    "Whether texts and pictures of a request or a reply pass",
    "LiteLLM's generic guardrail API. What cannot be judged is an error, which LiteLLM takes for a block.",
    "GuardrailRequest",
    "GuardrailAnswer",
)
