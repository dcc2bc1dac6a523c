"""The adapter bundle on disk: what `align` writes and `serve` reads, and nothing else of either.

A bundle is a directory with `adapter_config.json`, `adapter_model.safetensors` and `manifest.json`.
The manifest is written last, so its presence means that the bundle is complete.
"""

import hashlib
import json
import os
import re
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
MANIFEST_FILE = "manifest.json"
_LONGEST_HEADER = 100_000_000
"""Bytes; safetensors' own limit."""

# Written by the library that saved the model, not part of what the model is.
_VOLATILE_CONFIG_KEYS = {"transformers_version", "_name_or_path", "torch_dtype", "dtype"}
# The second form is how transformers before 4.52 named the language layers.
_IN_LANGUAGE_LAYERS = re.compile(r"(^|\.)(language_model\.(model\.)?|model\.model\.)layers\.\d+\.")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


class BundleError(Exception):
    """A bundle that must not be served; the message says what is wrong and where."""


class _Frozen(BaseModel):
    # JSON has no NaN: it would be written as null, and the bundle could not be read again.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class BaseModelIdentity(_Frozen):
    """The base model an adapter was trained on."""

    id: str
    architecture: str
    config_digest: str
    """`model_config_digest` of the base model's config.json, 64 hex digits."""


class Interval(_Frozen):
    """A rate in [0, 1], or the difference of two, with its 95 % interval."""

    value: float
    low: float
    high: float


class Benchmark(_Frozen):
    """One measure of one benchmark."""

    measure: str
    """Scorer and key, such as `harm.whole`."""
    n: int
    """Samples asked."""
    unscored: int
    rate: Interval | None
    """Over the scored samples; None where too many were unscored."""
    distinct: int | None = None
    """Requests that differ, which the interval is as wide as; None where it is not known."""


class ReportCard(_Frozen):
    """What was measured on the adapter before it was published."""

    task: str
    n: int
    unscored: int
    judge: str
    harmful_rate: Interval | None
    """None where nobody could tell, as of the next: the lab's count knows the lab's own wordings alone."""
    refusal_rate: Interval | None
    """Refusals of benign requests: over-refusal, lower is better."""
    parsed: Interval
    """Share of replies that parse completely in the reply grammar."""
    named_subject: Interval
    """Share of replies that name the right object."""
    benchmarks: dict[str, tuple[Benchmark, ...]] = Field(default_factory=dict)
    """By task, what `python -m align evaluate` measured later."""


class Manifest(_Frozen):
    """The birth certificate of an adapter."""

    format_version: int = Field(1, ge=1, le=1)
    name: str
    digest: str
    """SHA-256 over the adapter's config and weights (`bundle_digest`), 64 hex digits."""
    base: BaseModelIdentity
    policy_digest: str
    """`Catalog.digest` of the policies it was trained on."""
    policies: dict[str, str]
    """Each of their clauses with its fingerprint: what tells later which of them read otherwise."""
    reasoning_format: str
    recipe_digest: str
    data_digest: str
    seeds: dict[str, int]
    versions: dict[str, str]
    report_card: ReportCard | None = None

    @property
    def served_name(self) -> str:
        """`name@digest12`: the only name an engine ever sees, never re-used for other weights."""
        return f"{self.name}@{self.digest[:12]}"


def bundle_digest(directory: Path) -> str:
    """SHA-256 over the file names, lengths and bytes of config and weights."""
    digest = hashlib.sha256()
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        path = directory / name
        if not path.is_file():
            raise BundleError(f"{directory} is not an adapter bundle: {name} is missing")
        digest.update(f"{name}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def model_config_digest(model_directory: Path) -> str:
    """SHA-256 over a model's config.json, less what libraries add on saving."""
    path = model_directory / "config.json"
    if not path.is_file():
        raise BundleError(f"{model_directory} holds no config.json, so it is not a model directory")
    try:
        canonical = json.dumps(_without_volatile(json.loads(path.read_bytes())), sort_keys=True)
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{path} cannot be read ({error}): restore it or download it again") from error
    return hashlib.sha256(canonical.encode()).hexdigest()


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Complete a bundle: atomically write its manifest, last."""
    check_name(manifest.name)
    partial = directory / f".{MANIFEST_FILE}.partial"
    partial.write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    os.replace(partial, directory / MANIFEST_FILE)


def read_bundle(directory: Path) -> Manifest:
    """Read and verify a bundle; raises BundleError unless the weights are those the manifest names."""
    path = directory / MANIFEST_FILE
    if not path.is_file():
        raise BundleError(f"{directory} has no {MANIFEST_FILE}: the bundle is incomplete, train it again")
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise BundleError(
            f"{path} is no manifest of this release; if an earlier one made it, train the adapter again: "
            f"{error}"
        ) from error
    check_name(manifest.name)
    found = bundle_digest(directory)
    if found != manifest.digest:
        raise BundleError(
            f"{directory} was changed after it was written: the manifest says {manifest.digest[:12]}, "
            f"the files are {found[:12]}; restore it or train it again"
        )
    return manifest


def tensor_names(bundle: Path) -> list[str]:
    """The names of an adapter's tensors, from the header of its file (8 bytes of length, then JSON)."""
    path = bundle / WEIGHTS_FILE
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(path.stat().st_size, _LONGEST_HEADER):
                raise ValueError(f"its header would have {length} bytes")
            header = json.loads(file.read(length))
            if not isinstance(header, dict):
                raise ValueError("its header is no object")
            return [name for name in header if name != "__metadata__"]
    except (OSError, ValueError, RecursionError, struct.error) as error:
        raise BundleError(f"{path} is no safetensors file ({error}): restore it or train it again") from error


def touches_tower(names: Iterable[str]) -> list[str]:
    """Those of an adapter's tensors that lie outside the language layers, where most engines ignore them."""
    return [name for name in names if not _IN_LANGUAGE_LAYERS.search(name)]


def check_name(name: str) -> None:
    """Refuse names that could not stand in a URL, a path or a metric label."""
    if not _NAME.fullmatch(name):
        raise BundleError(
            f"{name!r} is not an adapter name: use letters, digits, '.', '_' and '-', 63 at most"
        )


def _without_volatile(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_volatile(v) for k, v in value.items() if k not in _VOLATILE_CONFIG_KEYS}
    if isinstance(value, list):
        return [_without_volatile(item) for item in value]
    return value
