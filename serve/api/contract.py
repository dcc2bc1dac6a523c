"""The OpenAPI document: every operation of the gateway, with every answer that it may give.

The shapes are written down in `serve.api.shapes`, beside the code and not out of it: tests hold one
against the other (`tests/serve/test_contract.py`).
"""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI

from serve.api import chat
from serve.api import responses as responses_api
from serve.api.shapes import chat as chats
from serve.api.shapes import failures, judging, offers, responses, safety
from serve.gate.formats.litellm_generic import PATH as GUARDRAIL_PATH

Json = dict[str, Any]

_OPERATIONS: Final[Mapping[tuple[str, str], Json]] = {
    (chat.PATH, "post"): chats.OPERATION,
    (responses_api.PATH, "post"): responses.OPERATION,
    ("/v1/moderations", "post"): judging.MODERATIONS,
    (GUARDRAIL_PATH, "post"): judging.GUARDRAIL,
    ("/tokenize", "post"): offers.TOKENIZE,
    ("/v1/models", "get"): offers.LIST_MODELS,
    ("/v1/models/{model}", "get"): offers.RETRIEVE_MODEL,
    ("/healthz", "get"): offers.HEALTH,
    ("/readyz", "get"): offers.READINESS,
    ("/metrics", "get"): offers.METRICS,
}
_SCHEMAS: Final[Json] = {
    **failures.SCHEMAS,
    **safety.SCHEMAS,
    **chats.SCHEMAS,
    **responses.SCHEMAS,
    **judging.SCHEMAS,
    **offers.SCHEMAS,
}
_KEY: Final[Json] = {
    "type": "http",
    "scheme": "bearer",
    "description": "A key of `python -m serve keys add`. A gateway without any asks for none.",
}
_TOLD: Final = """\
A gateway that guards the reasoning of multimodal models. It speaks OpenAI's API: `content`, `refusal` and
`reasoning` are as clients know them, and `safety` tells what the model decided and what the gateway did.
A request may ask for stricter handling than its key demands, never for laxer."""
_TAGS: Final = {
    "replies": "Models answer; nothing leaves unscanned.",
    "judging": "Texts and pictures are judged by our policies.",
    "models": "What can be asked.",
    "operating": "For operators and machines; without a key, so keep them off the public network.",
}


def describe(app: FastAPI) -> None:
    """Have `/openapi.json` tell the contract."""

    def openapi() -> Json:
        if app.openapi_schema is None:
            app.openapi_schema = document(app.title, app.version)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way of extending it


def document(title: str, version: str) -> Json:
    """OpenAPI 3.1. The schema of an event stream is that of one event."""
    paths: dict[str, Json] = {}
    for (path, method), operation in _OPERATIONS.items():
        paths.setdefault(path, {})[method] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "description": _TOLD},
        "tags": [{"name": name, "description": what} for name, what in _TAGS.items()],
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "schemas": _SCHEMAS,
            "headers": dict(failures.HEADERS),
            "securitySchemes": {"key": _KEY},
        },
    }
