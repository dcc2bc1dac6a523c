"""`POST /v1/chat/completions`: the request, the plain reply, and the chunks of a stream."""

from collections.abc import Mapping
from typing import Final

from serve.api.choice import FINISHES
from serve.api.parameters import FORGING, FORMS, NO_VARIABLES, STEERING, UNREAD, why_refused
from serve.api.shapes.failures import ASKED, responses
from serve.api.shapes.schema import (
    ANYTHING,
    BOOLEAN,
    COUNT,
    INTEGER,
    NULL,
    STRING,
    Json,
    closed,
    either,
    event,
    json_text,
    listed,
    only,
    opened,
    or_null,
    ref,
    told,
)
from serve.api.wire import DONE_DATA

_ENGINES: Final[Mapping[str, tuple[str, object]]] = {
    "temperature": ("Number from 0 to 2.", 0.2),
    "top_p": ("Number from 0 to 1.", 0.9),
    "max_tokens": ("Tokens of the reply, its reasoning included.", 1024),
    "max_completion_tokens": ("Tokens of the reply, its reasoning included.", 1024),
    "min_tokens": ("Tokens before the reply may end.", 1),
    "seed": ("Integer.", 7),
    "stop": ("A text or several; one in the reasoning leaves no answer.", ["END"]),
    "frequency_penalty": ("Number from -2 to 2.", 0.5),
    "presence_penalty": ("Number from -2 to 2.", 0.5),
    "repetition_penalty": ("Number above 0.", 1.1),
    "logprobs": ("Boolean; not together with a `safety.trace` that hides the reasoning.", True),
    "reasoning_effort": ("`low`, `medium` or `high`, where the model knows it.", "low"),
    "tools": ("Functions that the application runs.", [{"type": "function", "function": {"name": "look"}}]),
    "parallel_tool_calls": ("Boolean.", False),
    "user": ("The application's own.", "u1"),
    "metadata": ("The application's own.", {"a": "b"}),
}
"""Passed on untouched: the engine checks them, and what it refuses is an error of code `engine_rejected`."""


def refused(names: Mapping[str, tuple[object, ...]]) -> Mapping[str, Json]:
    """Parameters that may only say nothing."""
    return {
        name: told(only(None, *harmless), f"Refused: {why_refused(name)}.")
        for name, harmless in names.items()
    }


_IMAGE = either(STRING, opened({"url": STRING}))
SCHEMAS: Final[Mapping[str, Json]] = {
    "TextPart": opened({"type": only("text"), "text": STRING}),
    "RefusalPart": opened({"type": only("refusal"), "refusal": STRING}),
    "ImagePart": opened(
        {"type": only("image_url"), "image_url": _IMAGE},
        description="A PNG, JPEG or WebP as a `data:` URL, or by a URL whose host the operator allows.",
    ),
    "Message": opened(
        {
            "role": told(
                STRING, "The engine knows which ones there are.", "system", "user", "assistant", "tool"
            )
        },
        {
            "content": or_null(
                either(STRING, listed(either(ref("TextPart"), ref("RefusalPart"), ref("ImagePart"))))
            )
        },
        description="Further fields are passed on to the engine; every text in them is shown to the guards.",
    ),
    "ChatRequest": opened(
        {"messages": listed(ref("Message"), minItems=1)},
        {
            "model": told(
                or_null(STRING), "An alias of `GET /v1/models`; null: the default one.", "groundrule"
            ),
            "stream": or_null(BOOLEAN),
            "stream_options": or_null(
                opened(
                    {},
                    {
                        "include_usage": told(or_null(BOOLEAN), "End with a chunk that tells the tokens."),
                        "continuous_usage_stats": told(
                            only(None, False), "Refused: text leaves as released."
                        ),
                        "include_obfuscation": told(only(None, False), "Refused: text leaves as released."),
                    },
                )
            ),
            "n": told(
                or_null({"type": "integer", "minimum": 1}),
                "Choices; the operator bounds them (`limits.choices`).",
            ),
            "safety": or_null(ref("SafetyOptions")),
            **{
                name: told(ANYTHING, f"{what} Passed on; the engine checks it.", example)
                for name, (what, example) in _ENGINES.items()
            },
            "chat_template_kwargs": {
                "propertyNames": {"not": {"enum": sorted(NO_VARIABLES)}},
                "description": "Variables of the chat template; guards see every text in them.",
            },
            **refused({name: () if value is None else (value,) for name, value in FORGING.items()}),
            **refused(UNREAD),
            **{
                name: told(ANYTHING, f"Of the base alias only: {why_refused(name)}.")
                for name in (*STEERING, *FORMS)
            },
        },
        description=(
            "OpenAI's. Fields that are not described here are passed on to the engine as they are. A refused "
            "parameter may only say nothing, unless the request is handled in mode observe."
        ),
        examples=[
            {
                "model": "groundrule",
                "messages": [{"role": "user", "content": "What is this?"}],
                "safety": {"trace": "steps"},
            }
        ],
    ),
    "ToolCall": opened(
        {},
        {
            "id": STRING,
            "type": only("function"),
            "function": opened({}, {"name": STRING, "arguments": STRING}),
        },
    ),
    "Logprobs": closed({"content": listed({"type": "object"}), "refusal": NULL}),
    "Usage": closed(
        {"prompt_tokens": COUNT, "completion_tokens": COUNT, "total_tokens": COUNT},
        {
            "prompt_tokens_details": {"type": "object", "additionalProperties": COUNT},
            "completion_tokens_details": {"type": "object", "additionalProperties": COUNT},
        },
    ),
    "FinishReason": told(
        only(*sorted({*FINISHES, "content_filter", "other"})),
        "`content_filter`: blocked; the refusal, and `safety.action`, say so too.",
    ),
    "AssistantMessage": closed(
        {
            "role": only("assistant"),
            "content": or_null(STRING),
            "refusal": told(or_null(STRING), "The sentence that stands in for what was held back."),
            "reasoning": or_null(STRING),
            "reasoning_content": told(or_null(STRING), "The same, for older clients."),
            "safety": ref("Safety"),
        },
        {"tool_calls": listed(ref("ToolCall"), minItems=1)},
    ),
    "Choice": closed(
        {
            "index": COUNT,
            "message": ref("AssistantMessage"),
            "finish_reason": ref("FinishReason"),
            "logprobs": or_null(ref("Logprobs")),
        },
        {"stop_reason": told(either(STRING, INTEGER), "Which of the caller's stop words ended it.")},
    ),
    "ChatCompletion": closed(
        {
            "id": {"type": "string", "pattern": "^chatcmpl-"},
            "object": only("chat.completion"),
            "created": INTEGER,
            "model": STRING,
            "choices": listed(ref("Choice"), minItems=1),
            "usage": or_null(ref("Usage")),
        }
    ),
    "Delta": closed(
        {},
        {
            "role": only("assistant"),
            "content": STRING,
            "refusal": STRING,
            "reasoning": STRING,
            "reasoning_content": STRING,
            "tool_calls": listed(ref("ToolCall"), minItems=1),
            "safety": told(
                either(closed({"step": ref("Step")}), closed({"verdict": ref("Verdict")}), ref("Safety")),
                "A step when it is complete, the verdict before the answer, and all of it on the last chunk.",
            ),
        },
        minProperties=1,
    ),
    "ChunkChoice": closed(
        {
            "index": COUNT,
            "delta": ref("Delta"),
            "finish_reason": or_null(ref("FinishReason")),
            "logprobs": or_null(ref("Logprobs")),
        },
        {"stop_reason": either(STRING, INTEGER)},
    ),
    "ChatChunk": closed(
        {
            "id": {"type": "string", "pattern": "^chatcmpl-"},
            "object": only("chat.completion.chunk"),
            "created": INTEGER,
            "model": STRING,
            "choices": listed(ref("ChunkChoice"), maxItems=1),
        },
        {
            "usage": told(
                or_null(ref("Usage")), "On the last chunk, which has no choices, for those who asked."
            )
        },
    ),
    "ChatEvent": either(
        event(json_text(either(ref("ChatChunk"), ref("Error")))),
        event(told(only(DONE_DATA), "The end; not behind an error.")),
        description="One server-sent event of a stream.",
    ),
}
OPERATION: Final[Json] = {
    "operationId": "create_chat_completion",
    "tags": ["replies"],
    "summary": "Answer a conversation, plain or streamed",
    "description": (
        "OpenAI's, plus `reasoning` and `safety`. Nothing leaves unscanned; a block is a 200 whose "
        "`finish_reason` is `content_filter`. Behind the first byte of a stream an error is its last event."
    ),
    "requestBody": {"required": True, "content": {"application/json": {"schema": ref("ChatRequest")}}},
    "responses": {
        "200": {
            "description": "The reply, plain or, with `stream`, as server-sent events.",
            "content": {
                "application/json": {"schema": ref("ChatCompletion")},
                "text/event-stream": {"schema": ref("ChatEvent")},
            },
        },
        **responses(ASKED),
    },
}
