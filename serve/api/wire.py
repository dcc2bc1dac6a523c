"""JSON on the wire, as ASCII: a lone surrogate in a model's text must not break an answer."""

import json
from typing import Any, Final

from fastapi.responses import JSONResponse

DONE_DATA: Final = "[DONE]"
DONE: Final = f"data: {DONE_DATA}\n\n".encode()


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
