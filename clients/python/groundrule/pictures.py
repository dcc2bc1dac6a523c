"""Pictures on their way to the gateway: files or bytes become `data:` URLs; nothing is decoded here."""

import base64
from os import PathLike
from pathlib import Path
from typing import TypeAlias

Picture: TypeAlias = str | PathLike[str] | bytes
"""A file's path, or the file's bytes."""

_LONGEST_SIGNATURE = 12


def data_url(picture: Picture) -> str:
    """The picture as a `data:` URL; its type is read from its first bytes, never from its name."""
    content = picture if isinstance(picture, bytes) else Path(picture).read_bytes()
    kind = _media_type(content[:_LONGEST_SIGNATURE])
    if kind is None:
        named = "these bytes are" if isinstance(picture, bytes) else f"{picture} is"
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
