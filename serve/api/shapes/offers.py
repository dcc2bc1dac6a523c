"""What the gateway offers, and how it is: models, tokens, health, metrics."""

from collections.abc import Mapping
from typing import Final

from serve.api.parameters import FORGING
from serve.api.shapes.chat import refused
from serve.api.shapes.failures import ASKED, LOOKED_UP, OPEN, responses
from serve.api.shapes.schema import (
    COUNT,
    INTEGER,
    STRING,
    Json,
    closed,
    listed,
    only,
    opened,
    or_null,
    ref,
    told,
)

_FORGING: Final = refused({name: () if value is None else (value,) for name, value in FORGING.items()})
SCHEMAS: Final[Mapping[str, Json]] = {
    "Model": closed(
        {
            "id": told(STRING, "The alias: what `model` of a request says.", "groundrule"),
            "object": only("model"),
            "created": told(INTEGER, "Unix time at which the gateway started."),
            "owned_by": only("groundrule"),
            "root": told(STRING, "The version that answers.", "pst@0123456789ab"),
            "parent": told(or_null(STRING), "The base model's alias, of an adapter."),
        }
    ),
    "ModelList": closed({"object": only("list"), "data": listed(ref("Model"))}),
    "TokenizeRequest": opened(
        {},
        {
            "model": told(or_null(STRING), "An alias; null: the default one.", "groundrule"),
            "prompt": STRING,
            "messages": told(
                listed(ref("Message")), "In place of the prompt; counted as the engine would get them."
            ),
            **_FORGING,
        },
        oneOf=[{"required": ["prompt"]}, {"required": ["messages"]}],
        description="Further fields are passed on to the engine.",
        examples=[{"model": "groundrule", "prompt": "What is this?"}],
    ),
    "Tokens": closed({}, {"count": COUNT, "max_model_len": COUNT, "tokens": listed(INTEGER)}),
    "Health": closed({"status": only("ok")}),
    "Readiness": closed(
        {
            "status": only("ready", "not ready"),
            "engines": told({"type": "object", "additionalProperties": STRING}, "State by pool."),
            "reasons": told(listed(STRING), "Why it is not ready."),
        }
    ),
}


def _answer(schema: Json, description: str, media_type: str = "application/json") -> Json:
    return {"description": description, "content": {media_type: {"schema": schema}}}


LIST_MODELS: Final[Json] = {
    "operationId": "list_models",
    "tags": ["models"],
    "summary": "Every alias that the key may use",
    "responses": {"200": _answer(ref("ModelList"), "The aliases."), **responses(LOOKED_UP)},
}
RETRIEVE_MODEL: Final[Json] = {
    "operationId": "retrieve_model",
    "tags": ["models"],
    "summary": "One alias",
    "parameters": [
        {
            "name": "model",
            "in": "path",
            "required": True,
            "schema": STRING,
            "description": "The alias.",
            "example": "groundrule",
        }
    ],
    "responses": {"200": _answer(ref("Model"), "The alias."), **responses(LOOKED_UP)},
}
TOKENIZE: Final[Json] = {
    "operationId": "tokenize",
    "tags": ["models"],
    "summary": "How many tokens a prompt or a conversation takes, by the engine's own tokenizer",
    "requestBody": {"required": True, "content": {"application/json": {"schema": ref("TokenizeRequest")}}},
    "responses": {"200": _answer(ref("Tokens"), "As the engine counted."), **responses(ASKED)},
}
HEALTH: Final[Json] = {
    "operationId": "is_alive",
    "tags": ["operating"],
    "summary": "This process answers",
    "security": [],
    "responses": {"200": _answer(ref("Health"), "It does."), **responses(OPEN)},
}
READINESS: Final[Json] = {
    "operationId": "is_ready",
    "tags": ["operating"],
    "summary": "Every alias has a healthy engine with its adapter, and nobody stops the gateway",
    "security": [],
    "responses": {
        "200": _answer(ref("Readiness"), "Ready."),
        "503": _answer(ref("Readiness"), "Not ready; `reasons` say why."),
        **responses(OPEN),
    },
}
METRICS: Final[Json] = {
    "operationId": "read_metrics",
    "tags": ["operating"],
    "summary": "Prometheus text, of all workers",
    "security": [],
    "responses": {"200": _answer(STRING, "The metrics.", "text/plain"), **responses(OPEN)},
}
