"""The file of a published picture, as long as it is none that would only be thrown away. Knows no set."""

from pathlib import Path

from align.sources.images import MAX_BYTES

NOT_HAD = f"is missing, damaged, or larger than {MAX_BYTES:,} bytes"
"""Why a picture is empty, behind its name."""


def content_of(path: Path) -> bytes:
    """The file's bytes; empty where it cannot be had, because that costs its row and no more."""
    try:
        return path.read_bytes() if path.stat().st_size <= MAX_BYTES else b""
    except OSError:
        return b""
