"""The OpenAPI document: the framework's routes and the lane's, with every answer that each may give."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

Json = dict[str, Any]

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string"},
            },
        }
    },
}
_FAILURES: Mapping[str, str] = {
    "400": "The request cannot be answered as it is",
    "401": "No key, or not one of ours",
    "403": "The key does not open this part of the API",
    "404": "No such path or model",
    "405": "The path does not know that method",
    "408": "The body took too long",
    "413": "The body is too large",
    "415": "The body's coding is not read here",
    "422": "The engine refused the request",
    "429": "The key has used what it may",
    "500": "A bug of ours",
    "503": "Not now",
    "504": "The engine fell silent",
}
_METHODS = frozenset({"get", "post"})


def describe(app: FastAPI, lane: Mapping[str, Json]) -> None:
    """Have `/openapi.json` tell of the `lane` (operations by path, all POST), too, and of every failure."""

    def openapi() -> Json:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app, lane)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way of extending it


def _document(app: FastAPI, lane: Mapping[str, Json]) -> Json:
    document = get_openapi(title=app.title, version=app.version, routes=app.routes)
    for path, operation in lane.items():
        answered = {"200": {"description": "The answer, plain or as server-sent events"}}
        document["paths"][path] = {"post": {**operation, "responses": answered}}
    document.setdefault("components", {}).setdefault("schemas", {})["Error"] = _ERROR
    for methods in document["paths"].values():
        for method, operation in methods.items():
            if method in _METHODS:
                operation["responses"] = {**_failures(), **_successes(operation)}
    return document


def _failures() -> Json:
    schema = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {status: {"description": told, "content": schema} for status, told in _FAILURES.items()}


def _successes(operation: Json) -> Json:
    return {status: told for status, told in operation["responses"].items() if status.startswith("2")}
