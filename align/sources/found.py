"""What a source finds: an image as published, an instruction, and what the source says about both."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Found:
    """One entry of a data set, before anything of it was checked."""

    key: str
    """Unique in the source and split, the same in every reading; becomes part of the query's id."""
    instruction: str
    image: bytes
    """The file as published; empty where it is missing."""
    category: str | None = None
    """A policy's id or slug; None where the source states none."""
    severity: int | None = None
    benign: bool | None = None
    meta: Mapping[str, str] = field(default_factory=dict)
    fault: str = ""
    """Why the image is missing, for the row that says so."""
