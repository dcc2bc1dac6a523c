"""What local models are served from in tests: as much of a base and of bundles as is read, and no engine."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from align.evaluate.gateway import Gateway
from policies.bundle import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    BaseModelIdentity,
    Interval,
    Manifest,
    ReportCard,
    bundle_digest,
    model_config_digest,
    write_manifest,
)


@dataclass
class Serving:
    """Stands for `align.evaluate.gateway.served`; a scripted model answers in its place."""

    root: str
    engine: str = ""
    """Of a scripted engine, where one is asked."""
    served: list[tuple[Path, list[Path]]] = field(default_factory=list)
    """Base and bundles, each time."""
    lengths: list[int] = field(default_factory=list)
    """Tokens of prompt and reply together."""
    formats: list[str] = field(default_factory=list)
    """What the base's replies are read in."""

    @contextmanager
    def __call__(
        self,
        base: Path,
        bundles: Sequence[Path],
        directory: Path,
        *,
        policies: Path | None = None,
        max_model_len: int = 0,
        reasoning_format: str = "think",
    ) -> Iterator[Gateway]:
        assert directory.is_dir()
        self.lengths.append(max_model_len)
        self.formats.append(reasoning_format)
        self.served.append((base, list(bundles)))
        yield Gateway(self.root, self.engine)


def write_base(folder: Path) -> Path:
    """A base model's directory."""
    base = folder / "models" / "base"
    base.mkdir(parents=True, exist_ok=True)
    (base / "config.json").write_text(json.dumps({"architectures": ["Some"]}))
    (base / "model.safetensors").write_bytes(b"base")
    return base


def write_bundle(
    out: Path,
    name: str,
    base: Path,
    weights: bytes | None = None,
    card: ReportCard | None = None,
    config: bytes = b'{"r": 8}',
    reasoning_format: str = "think",
) -> Path:
    """A bundle on that base; its weights are its directory's name where none are given."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    (out / CONFIG_FILE).write_bytes(config)
    (out / WEIGHTS_FILE).write_bytes(weights or out.name.encode())
    manifest = Manifest(
        format_version=1,
        name=name,
        digest=bundle_digest(out),
        base=BaseModelIdentity(id="some-base", architecture="Some", config_digest=model_config_digest(base)),
        policy_digest="0" * 64,
        policies={},
        reasoning_format=reasoning_format,
        recipe_digest="0" * 64,
        data_digest="0" * 64,
        seeds={},
        versions={},
        report_card=card,
    )
    write_manifest(out, manifest)
    return out


def card() -> ReportCard:
    """What the pipeline measured."""
    rate = Interval(value=0.5, low=0.2, high=0.8)
    return ReportCard(
        task="t",
        n=2,
        unscored=0,
        judge="none",
        harmful_rate=rate,
        refusal_rate=rate,
        parsed=rate,
        named_subject=rate,
    )
