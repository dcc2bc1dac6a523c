"""A stage's birth certificate: what made its rows, how many there are, what was dropped and why.

`manifest.json` is written last and atomically, so its presence means "complete". `origin.json` is
written first: it says what an unfinished stage's rows are being made from, so that a re-run goes on
only with rows of the same making.
"""

import hashlib
import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from align.records import RecordError

MANIFEST_FILE = "manifest.json"
ORIGIN_FILE = "origin.json"


class StaleStage(Exception):
    """A stage directory holds rows of another making; the message says which and what to do."""


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Origin(_Frozen):
    """Everything that decides a stage's rows; equal origins mean equal rows."""

    stage: str
    recipe_digest: str
    """Over the parts of the recipe that the stage reads, less what only sets its pace."""
    inputs: dict[str, str]
    """SHA-256 by name: what earlier stages left, the catalog of policies, the base model."""

    def differences(self, other: "Origin") -> list[str]:
        """What changed, in words for a message."""
        found = [f"the recipe's part for {self.stage}"] if self.recipe_digest != other.recipe_digest else []
        names = sorted(self.inputs.keys() | other.inputs.keys())
        return found + [name for name in names if self.inputs.get(name) != other.inputs.get(name)]


class StageManifest(_Frozen):
    """Written last."""

    format_version: int = Field(1, ge=1, le=1)
    origin: Origin
    seed: int
    """The recipe's; part of the origin of those stages that draw by it."""
    rows: int
    result_digest: str
    """SHA-256 of what the stage leaves: of its rows, or of an adapter's weights and config."""
    dropped: dict[str, int]
    """Rows dropped, by reason."""
    versions: dict[str, str]
    seconds: float
    """Of the attempt that completed the stage."""


FrozenT = TypeVar("FrozenT", bound=_Frozen)


def read_manifest(directory: Path) -> StageManifest | None:
    """The manifest of a complete stage, or None."""
    return _read(directory / MANIFEST_FILE, StageManifest)


def write_manifest(directory: Path, manifest: StageManifest) -> None:
    """Complete a stage."""
    _write(directory / MANIFEST_FILE, manifest)


def begin(directory: Path, origin: Origin) -> None:
    """Say what the stage's rows are made from; StaleStage if those already there are of another making."""
    found = _read(directory / ORIGIN_FILE, Origin)
    if found is None:
        directory.mkdir(parents=True, exist_ok=True)
        _write(directory / ORIGIN_FILE, origin)
    elif changed := found.differences(origin):
        raise StaleStage(
            f"{directory} was made before these changed: {', '.join(changed)}. Make it again with "
            f"--from {origin.stage} (what it holds is discarded), or keep it and choose another --out"
        )


def origin_differs(directory: Path, origin: Origin) -> bool:
    """Whether the directory holds what was made from something else."""
    found = _read(directory / ORIGIN_FILE, Origin)
    return found is not None and bool(found.differences(origin))


def forget(directory: Path) -> None:
    """Discard what a stage left: the manifest goes first, so that no moment shows a false "complete"."""
    (directory / MANIFEST_FILE).unlink(missing_ok=True)
    if (directory / ORIGIN_FILE).exists():  # without it the directory is not a stage's, so not ours to remove
        shutil.rmtree(directory)


def file_digest(path: Path) -> str:
    """SHA-256 of a file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def versions() -> dict[str, str]:
    """What the rows were made with."""
    packages = ("groundrule-platform", "pillow", "pydantic")
    return {"python": platform.python_version()} | {name: _version(name) for name in packages}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # a checkout that was never installed
        return "not installed"


def _read(path: Path, kind: type[FrozenT]) -> FrozenT | None:
    try:
        return kind.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise RecordError(f"{path} cannot be read: {error.errors()[0]['msg']}; remove it") from None


def _write(path: Path, value: _Frozen) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(value.model_dump_json(indent=2) + "\n", encoding="utf-8")
    os.replace(partial, path)
