"""A full disk as torch and safetensors tell it, turned into the OSError that it is."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

_WRITING_FAILED = ("file write failed", "unexpected pos", "No space left", "while serializing")
"""How torch, as a RuntimeError, and safetensors say that a file could not be written."""


@contextmanager
def disk_faults(out: Path) -> Iterator[None]:
    """OSError, naming `out`, where what is written below it finds no room."""
    try:
        yield
    except (SafetensorError, RuntimeError) as error:
        if any(sign in str(error) for sign in _WRITING_FAILED):
            raise OSError(errno.ENOSPC, f"cannot be written ({error})", str(out)) from error
        raise
