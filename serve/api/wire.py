"""What answers are made of. JSON goes as ASCII: a lone surrogate in a model's text must not break one."""

import json
from typing import Any, Final

from starlette.responses import JSONResponse, Response

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


def nobody() -> Response:
    """For a caller who has left: the server sends it to nobody."""
    return Response(status_code=499)
