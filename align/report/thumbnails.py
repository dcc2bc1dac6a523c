"""A picture of the run, small enough for a page: at most a few kilobytes, whatever the file is."""

import base64
import io
import warnings
from pathlib import Path

SIDE = 128
"""Pixels of the longer side; a JPEG of that size is smaller than 50 kB even where it is noise."""


def thumbnail(directory: Path, image: str) -> str | None:
    """A data URL, or None where there is no such picture in the directory or it cannot be read."""
    from PIL import Image

    path = (directory / image).resolve()
    if not path.is_relative_to(directory.resolve()):
        return None
    file = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                picture.draft("RGB", (SIDE, SIDE))
                picture.thumbnail((SIDE, SIDE))
                picture.convert("RGB").save(file, "JPEG", quality=75)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombWarning, Image.DecompressionBombError):
        return None
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
