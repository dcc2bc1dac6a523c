"""The stage graph: which stage follows which, what each reads, and when it has to be made (again).

    queries -> trajectories -> gates -> rows -> sft -> bundle -> evaluate

Each stage has a folder in the run directory. It is skipped where its manifest is there and it was made
from the same recipe, seed and inputs; it goes on where it was killed; and where it was made from
anything else the run stops and says so, because rows of two makings must not mix and paid rows must
not vanish unasked. `--from STAGE` is how one asks: it discards that stage and all later ones.
"""

import asyncio
import fcntl
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from align.manifest import (
    Origin,
    StageManifest,
    begin,
    file_digest,
    forget,
    read_manifest,
    versions,
    write_manifest,
)
from align.recipe import Recipe, RecipeError, digest_of
from align.stages import make
from align.stages.workspace import ROWS_FILE, Made, Workspace
from policies.catalog import Catalog


@dataclass(frozen=True)
class Stage:
    """A stage of the graph."""

    name: str
    make: Callable[[Workspace, Path], Made]
    part: Callable[[Recipe], Any]
    """What of the recipe decides its result."""
    reads: tuple[str, ...] = ()
    """Earlier stages whose results it reads."""
    reads_policies: bool = False
