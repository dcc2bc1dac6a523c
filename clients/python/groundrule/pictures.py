"""Pictures on their way to the gateway: files or bytes become `data:` URLs; nothing is decoded here."""

import base64
import re
from os import PathLike
from pathlib import Path
from typing import TypeAlias

Picture: TypeAlias = str | PathLike[str] | bytes | bytearray | memoryview
"""A file's path, the file's bytes, or a URL (`https:`, `http:`, `data:`), which the gateway reads itself."""

_URL = re.compile(r"https?://|data:", re.IGNORECASE)
_LONGEST_SIGNATURE = 12


def picture_url(picture: Picture) -> str:
    """The picture as a URL; the type of a file is read from its first bytes, never from its name."""
    if isinstance(picture, str) and _URL.match(picture):
        return picture
    if isinstance(picture, str | PathLike):
        content, named = Path(picture).read_bytes(), f"{picture} is"
    else:
        content, named = bytes(picture), "these bytes are"
    kind = _media_type(content[:_LONGEST_SIGNATURE])
    if kind is None:
        raise ValueError(f"{named} no PNG, JPEG or WebP picture, the kinds that a gateway takes")
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _media_type(start: bytes) -> str | None:
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if start.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "image/webp"
    return None
