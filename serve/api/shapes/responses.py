"""`POST /v1/responses`: the request, the response, and the events of a stream."""

from collections.abc import Mapping
from typing import Final

from serve.api.responses_request import LABELS, REFUSED
from serve.api.shapes.chat import refused
from serve.api.shapes.failures import ASKED
from serve.api.shapes.failures import responses as failures
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
from serve.errors import TOO_LONG

_PARTS = either(ref("InputText"), ref("RefusalPart"), ref("InputImage"))
_CONTENT = either(STRING, listed(_PARTS))
_ROLES = only("user", "assistant", "system", "developer")
_FUNCTION = opened({"type": only("function"), "name": told(STRING, "What the model calls.", "look")})

_REQUEST: Final[Mapping[str, Json]] = {
    "InputText": opened({"type": only("input_text", "output_text", "text"), "text": STRING}),
    "InputImage": opened(
        {"type": only("input_image"), "image_url": told(STRING, "As in a chat; files are not kept here.")}
    ),
    "InputItem": either(
        opened({"role": _ROLES, "content": _CONTENT}, {"type": only("message")}),
        opened({"type": only("reasoning")}, {"content": or_null(listed(opened({"text": STRING})))}),
        opened(
            {"type": only("function_call"), "call_id": STRING, "name": STRING, "arguments": STRING},
        ),
        opened({"type": only("function_call_output"), "call_id": STRING, "output": _CONTENT}),
    ),
    "ResponsesRequest": opened(
        {"input": either(STRING, listed(ref("InputItem"), minItems=1))},
        {
            "model": told(
                or_null(STRING), "An alias of `GET /v1/models`; null: the default one.", "groundrule"
            ),
            "instructions": told(or_null(STRING), "A system message before the input."),
            "stream": or_null(BOOLEAN),
            "safety": or_null(ref("SafetyOptions")),
            "reasoning": or_null(
                closed({}, {"effort": ANYTHING, "summary": NULL, "generate_summary": NULL}),
                description="Reasoning is returned as it is: there are no summaries.",
            ),
            "text": or_null(
                closed(
                    {},
                    {
                        "format": told(or_null(opened({})), "Other than `text`: of the base alias only."),
                        "verbosity": only(None, "medium"),
                    },
                )
            ),
            "tools": or_null(listed(_FUNCTION)),
            "tool_choice": told(ANYTHING, "`none`, `auto`, or a function where the model owes no trace."),
            "max_output_tokens": told(ANYTHING, "Passed on; the engine checks it.", 1024),
            "temperature": told(ANYTHING, "Passed on; the engine checks it.", 0.2),
            "top_p": told(ANYTHING, "Passed on; the engine checks it.", 0.9),
            "parallel_tool_calls": told(ANYTHING, "Passed on; the engine checks it.", False),
            **{name: told(ANYTHING, "For the caller's own books.") for name in LABELS},
            **refused(REFUSED),
        },
        description=(
            "OpenAI's. Nothing is kept between requests, so whatever refers to something kept is refused. "
            "What is not described here is read as in a chat request."
        ),
        examples=[{"model": "groundrule", "input": "What is this?", "store": False}],
    ),
}
_STATUS = only("in_progress", "completed", "incomplete")
_ITEMS: Final[Mapping[str, Json]] = {
    "OutputText": closed(
        {"type": only("output_text"), "text": STRING, "annotations": listed({}, maxItems=0)}
        | {"logprobs": listed({}, maxItems=0)}
    ),
    "OutputRefusal": closed({"type": only("refusal"), "refusal": STRING}),
    "OutputReasoning": closed({"type": only("reasoning_text"), "text": STRING}),
    "OutputPart": either(ref("OutputText"), ref("OutputRefusal"), ref("OutputReasoning")),
    "OutputItem": either(
        closed(
            {
                "id": {"type": "string", "pattern": "^rs_"},
                "type": only("reasoning"),
                "summary": listed({}, maxItems=0),
                "content": listed(ref("OutputReasoning")),
                "status": _STATUS,
            }
        ),
        closed(
            {
                "id": {"type": "string", "pattern": "^msg_"},
                "type": only("message"),
                "role": only("assistant"),
                "content": listed(either(ref("OutputText"), ref("OutputRefusal"))),
                "status": _STATUS,
                "safety": told(
                    either(ref("Safety"), closed({"verdict": ref("Verdict")})),
                    "The verdict as long as the message is under way.",
                ),
            }
        ),
        closed(
            {
                "id": {"type": "string", "pattern": "^fc_"},
                "type": only("function_call"),
                "call_id": STRING,
                "name": STRING,
                "arguments": STRING,
                "status": _STATUS,
            }
        ),
    ),
    "ResponseUsage": closed(
        {
            "input_tokens": COUNT,
            "input_tokens_details": closed({"cached_tokens": COUNT}),
            "output_tokens": COUNT,
            "output_tokens_details": closed({"reasoning_tokens": COUNT}),
            "total_tokens": COUNT,
        }
    ),
    "Response": closed(
        {
            "id": {"type": "string", "pattern": "^resp_"},
            "object": only("response"),
            "created_at": INTEGER,
            "status": only("in_progress", "completed", "incomplete", "failed"),
            "error": or_null(closed({"code": STRING, "message": STRING})),
            "incomplete_details": or_null(closed({"reason": only("content_filter", "max_output_tokens")})),
            "model": STRING,
            "output": listed(ref("OutputItem")),
            "usage": or_null(ref("ResponseUsage")),
            "background": only(False),
            "previous_response_id": NULL,
            "store": only(False),
            "truncation": only("disabled"),
            "instructions": or_null(STRING),
            "reasoning": opened({}),
            "text": opened({}),
            "tools": listed(_FUNCTION),
            **{
                name: told(ANYTHING, "As in the request.")
                for name in (
                    "max_output_tokens",
                    "metadata",
                    "parallel_tool_calls",
                    "temperature",
                    "tool_choice",
                    "top_p",
                )
            },
        },
        {"safety": told(ref("Safety"), "Where the reply has come to its end.")},
        description=(
            "A refusal on its own is a `completed` response, as it is with OpenAI; one behind released text "
            "is `incomplete`, for reason `content_filter`."
        ),
    ),
}


def _event(name: str, /, **fields: Json) -> Json:
    data = closed({"type": only(name), "sequence_number": COUNT, **fields})
    return event(json_text(data), name)


_WHERE: Final[Mapping[str, Json]] = {"item_id": STRING, "output_index": COUNT, "content_index": COUNT}
_CALL: Final[Mapping[str, Json]] = {"item_id": STRING, "output_index": COUNT}
_NOTHING = listed({}, maxItems=0)
_EVENTS: Final = (
    *(
        _event(f"response.{name}", response=ref("Response"))
        for name in ("created", "in_progress", "completed", "incomplete", "failed")
    ),
    *(
        _event(f"response.output_item.{name}", output_index=COUNT, item=ref("OutputItem"))
        for name in ("added", "done")
    ),
    *(
        _event(f"response.content_part.{name}", **_WHERE, part=ref("OutputPart"))
        for name in ("added", "done")
    ),
    _event("response.reasoning_text.delta", **_WHERE, delta=STRING),
    _event("response.reasoning_text.done", **_WHERE, text=STRING),
    _event("response.output_text.delta", **_WHERE, logprobs=_NOTHING, delta=STRING),
    _event("response.output_text.done", **_WHERE, logprobs=_NOTHING, text=STRING),
    _event("response.refusal.delta", **_WHERE, delta=STRING),
    _event("response.refusal.done", **_WHERE, refusal=STRING),
    _event("response.function_call_arguments.delta", **_CALL, delta=STRING),
    _event("response.function_call_arguments.done", **_CALL, name=STRING, arguments=STRING),
    _event("response.safety.step", step=ref("Step")),
    _event(
        "error",
        code=STRING,
        message=STRING,
        param=or_null(STRING),
        error={"$ref": "#/components/schemas/Error/properties/error"},
    ),
)
SCHEMAS: Final[Mapping[str, Json]] = {
    **_REQUEST,
    **_ITEMS,
    "ResponsesEvent": either(*_EVENTS, description="One server-sent event of a stream; there is no [DONE]."),
}
OPERATION: Final[Json] = {
    "operationId": "create_response",
    "tags": ["replies"],
    "summary": "Answer an input, plain or streamed",
    "description": (
        "OpenAI's, plus `safety` on the message and on the response. Requests that carry a `safety` object "
        f"also get each step as an event. A prompt that is too long is an error of code `{TOO_LONG}`."
    ),
    "requestBody": {"required": True, "content": {"application/json": {"schema": ref("ResponsesRequest")}}},
    "responses": {
        "200": {
            "description": "The response, plain or, with `stream`, as server-sent events.",
            "content": {
                "application/json": {"schema": ref("Response")},
                "text/event-stream": {"schema": ref("ResponsesEvent")},
            },
        },
        **failures(ASKED),
    },
}
