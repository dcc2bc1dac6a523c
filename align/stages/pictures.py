"""A query's picture as it goes over the wire: the very bytes of which the query was written."""

import base64
import hashlib
from pathlib import Path, PurePosixPath
from typing import Any

from align.records import Query, RecordError

MEDIA_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}


def image_part(query: Query, run_directory: Path) -> dict[str, Any]:
    """The picture as a content part with a data URL."""
    media_type = MEDIA_TYPES[PurePosixPath(query.image).suffix]
    data = base64.b64encode(read_image(query, run_directory)).decode()
    return {"type": "image_url", "image_url": {"url": f"data:{media_type};base64,{data}"}}


def read_image(query: Query, run_directory: Path) -> bytes:
    """The file; RecordError where it is gone or another than it was."""
    path = run_directory / query.image
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RecordError(f"{path}, the picture of {query.id}, cannot be read: {error.strerror}") from None
    if hashlib.sha256(content).hexdigest() != query.image_sha256:
        raise RecordError(f"{path}, the picture of {query.id}, was changed after the query was written")
    return content
