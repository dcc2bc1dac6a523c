"""JSON on the wire, as ASCII: a lone surrogate in a model's text must not break an answer."""

import json
from typing import Any

from fastapi.responses import JSONResponse

DONE = b"data: [DONE]\n\n"


class AsciiResponse(JSONResponse):
    """A JSON body."""

    def render(self, content: Any) -> bytes:
        """ASCII, compact."""
        return dumps(content)


def event(data: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + dumps(data) + b"\n\n"


def dumps(data: Any) -> bytes:
    """JSON, compact."""
    return json.dumps(data, separators=(",", ":")).encode("ascii")
