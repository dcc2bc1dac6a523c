"""Words for JSON Schema (2020-12, as OpenAPI 3.1 has it); knows nothing of what is described."""

from collections.abc import Mapping
from typing import Any, Final

Json = dict[str, Any]

STRING: Final[Json] = {"type": "string"}
INTEGER: Final[Json] = {"type": "integer"}
COUNT: Final[Json] = {"type": "integer", "minimum": 0}
BOOLEAN: Final[Json] = {"type": "boolean"}
NULL: Final[Json] = {"type": "null"}
ANYTHING: Final[Json] = {}


def ref(name: str) -> Json:
    """A schema of the document's own."""
    return {"$ref": f"#/components/schemas/{name}"}


def closed(required: Mapping[str, Json], optional: Mapping[str, Json] | None = None, **more: Any) -> Json:
    """An object with these fields and no others."""
    return {**opened(required, optional, **more), "additionalProperties": False}


def opened(required: Mapping[str, Json], optional: Mapping[str, Json] | None = None, **more: Any) -> Json:
    """An object with these fields and whatever others."""
    properties = {**required, **(optional or {})}
    demanded = {"required": list(required)} if required else {}
    return {"type": "object", **demanded, "properties": properties, **more}


def listed(items: Json, **more: Any) -> Json:
    """A list of them."""
    return {"type": "array", "items": items, **more}


def either(*schemas: Json, **more: Any) -> Json:
    """One of them, or several at once."""
    return {"anyOf": list(schemas), **more}


def or_null(schema: Json, **more: Any) -> Json:
    """It, or nothing; `null` is as good as absent everywhere in a request."""
    return either(schema, NULL, **more)


def only(*values: Any, **more: Any) -> Json:
    """One of these values."""
    return {"const": values[0], **more} if len(values) == 1 else {"enum": list(values), **more}


def told(schema: Json, description: str, *examples: Any) -> Json:
    """With words for a reader."""
    return {**schema, "description": description, **({"examples": list(examples)} if examples else {})}


def json_text(schema: Json) -> Json:
    """JSON of that schema, as the text that it is on the wire."""
    return {"type": "string", "contentMediaType": "application/json", "contentSchema": schema}


def event(data: Json, name: str | None = None) -> Json:
    """One server-sent event; without a name it is a `message`, as it is for every reader of events."""
    if name is None:
        return closed({"data": data}, {"event": only("message")})
    return closed({"event": only(name), "data": data})
