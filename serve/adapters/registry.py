"""Which names callers may use, and what each stands for: built once at start-up, then immutable.

Reads and verifies the bundles, and asks no engine. A swap will be a new registry, not a change
inside this one.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from policies.bundle import (
    CONFIG_FILE,
    BundleError,
    Manifest,
    check_name,
    model_config_digest,
    read_bundle,
    tensor_names,
    touches_tower,
)
from policies.catalog import Catalog
from policies.formats import FORMATS, ReasoningFormat
from policies.reply import Clauses
from serve.adapters.other_policies import citable_clauses
from serve.adapters.refused import AdapterRefused
from serve.engine.kinds import KINDS
from serve.errors import UnknownModel
from serve.options.adapters import AdapterSettings, ModelSettings
from serve.options.engine import EngineSettings, PoolSettings
from serve.settings import Settings


@dataclass(frozen=True, slots=True)
class Version:
    """What an alias points to: the base model, or one immutable adapter on it."""

    engine_name: str | None
    """The model's name in the engine; None: the base model, under whatever name the engine gives it."""
    format: ReasoningFormat
    clauses: Clauses
    """What its replies may cite: clauses that mean what the model learned."""
    bundle: Path | None = None
    manifest: Manifest | None = None
    pool: str | None = None
    """Which of engine.pools has it; None: the only engine, where the settings have no pools."""
    is_merged: bool = False
    """Aligned weights of an engine that loads no adapters; `engine_name`, if any, is their name there."""

    @property
    def is_aligned(self) -> bool:
        """Whether its replies carry traces."""
        return self.bundle is not None or self.is_merged

    @property
    def adapter(self) -> str | None:
        """`name@digest12`: which adapter answered; None for a whole model, whose name may be a path."""
        return self.engine_name if self.bundle else None


@dataclass(frozen=True, slots=True)
class Route:
    """A caller's model name, resolved."""

    alias: str
    version: Version


@dataclass(frozen=True, slots=True)
class Registry:
    """Aliases and the versions they stand for."""

    aliases: Mapping[str, Version]
    default_alias: str

    def resolve(self, model: str) -> Route:
        """The version behind a public name; a name that is not ours never reaches an engine."""
        version = self.aliases.get(model)
        if version is None:
            raise UnknownModel(f"there is no model {model[:100]!r}; GET /v1/models lists them", param="model")
        return Route(model, version)

    @property
    def first(self) -> Route:
        """What the default alias stands for; where nothing is aligned, the first of all names."""
        alias = self.default_alias if self.default_alias in self.aliases else next(iter(self.aliases))
        return self.resolve(alias)

    @property
    def adapters(self) -> tuple[Version, ...]:
        """Every distinct adapter, in the order of the settings."""
        distinct = {(v.pool, v.engine_name): v for v in self.aliases.values() if v.bundle}
        return tuple(distinct.values())

    def of_pool(self, name: str | None) -> tuple[Version, ...]:
        """Every distinct version that a pool must have; None: the only engine's."""
        distinct = {v.engine_name: v for v in self.aliases.values() if v.pool == name}
        return tuple(distinct.values())


def build_registry(settings: Settings, catalog: Catalog) -> Registry:
    """Verify every bundle, bind it to its pool and give it its names; raises AdapterRefused."""
    aliases: dict[str, Version] = {}
    for adapter in settings.adapters:
        version = _admit(adapter, settings.engine, catalog)
        first = (settings.default_alias,) if not aliases else ()
        for alias in (*first, *_names(adapter, version)):
            _claim(aliases, alias, version)
    for model in settings.models:
        version = _merged(model, catalog)
        first = (settings.default_alias,) if model.aligned and settings.default_alias not in aliases else ()
        for alias in (*first, model.alias):
            _claim(aliases, alias, version)
    pool = _default_pool(settings.engine)
    if pool is None or not any(_is_base_of(pool, model) for model in settings.models):
        base_format = _format(settings.reasoning_format, "reasoning_format")
        base = Version(None, base_format, catalog.citable, pool=pool.name if pool else None)
        _claim(aliases, settings.base_alias, base)
    return Registry(MappingProxyType(aliases), settings.default_alias)


def _merged(model: ModelSettings, catalog: Catalog) -> Version:
    return Version(
        engine_name=model.model,
        format=_format(model.reasoning_format, f"models: {model.alias}"),
        clauses=catalog.citable,
        pool=model.pool,
        is_merged=model.aligned,
    )


def _default_pool(engine: EngineSettings) -> PoolSettings | None:
    """The first pool that loads adapters, or else the first; None: the one engine of the other forms."""
    loading = [pool for pool in engine.pools if KINDS[pool.kind].loads_adapters]
    return next(iter((*loading, *engine.pools)), None)


def _is_base_of(pool: PoolSettings, model: ModelSettings) -> bool:
    """Whether that alias says already what the pool's own model is.

    A second name for it, as a base model without traces, would be a way around what its traces promise.
    """
    return model.pool == pool.name and (model.model is None or pool.model in (None, model.model))


def _names(adapter: AdapterSettings, version: Version) -> Iterable[str]:
    return (version.manifest.name, *adapter.aliases) if version.manifest else adapter.aliases


def _claim(aliases: dict[str, Version], alias: str, version: Version) -> None:
    try:
        check_name(alias)
    except BundleError as error:
        raise AdapterRefused(str(error)) from error
    if aliases.setdefault(alias, version) != version:
        raise AdapterRefused(f"two models are called {alias!r}: change an alias, base_alias or default_alias")


def _admit(adapter: AdapterSettings, engine: EngineSettings, catalog: Catalog) -> Version:
    embedded, pool = engine.embedded, _pool_of(adapter, engine)
    try:
        manifest = read_bundle(adapter.bundle)
        if embedded and embedded.local_model:
            _check_base(manifest, embedded.local_model)
        if not any(kind and kind.tower_lora for kind in (embedded, engine.remote, pool)):
            _check_language_only(adapter.bundle)
    except BundleError as error:
        raise AdapterRefused(str(error)) from error
    if embedded:
        _check_rank(adapter.bundle, embedded.max_lora_rank)
    return Version(
        engine_name=manifest.served_name,
        format=_format(manifest.reasoning_format, str(adapter.bundle)),
        clauses=citable_clauses(str(adapter.bundle), manifest, catalog, adapter.policy_change),
        bundle=adapter.bundle,
        manifest=manifest,
        pool=pool.name if pool else None,
    )


def _pool_of(adapter: AdapterSettings, engine: EngineSettings) -> PoolSettings | None:
    if adapter.pool is None:
        pool = _default_pool(engine)
    else:
        pool = next(one for one in engine.pools if one.name == adapter.pool)
    if pool and not KINDS[pool.kind].loads_adapters:
        raise AdapterRefused(
            f"{adapter.bundle}: pool {pool.name} ({pool.kind}) loads no adapters: name one that does, or "
            "merge the adapter into its weights and list them under models"
        )
    return pool


def _check_base(manifest: Manifest, model: Path) -> None:
    found = model_config_digest(model)
    if found != manifest.base.config_digest:
        raise AdapterRefused(
            f"adapter {manifest.name} was trained on another base model ({manifest.base.id}, config "
            f"{manifest.base.config_digest[:12]}) than {model} (config {found[:12]})"
        )


def _check_language_only(bundle: Path) -> None:
    if touched := touches_tower(tensor_names(bundle)):
        raise AdapterRefused(
            f"{bundle} adapts the vision tower too ({touched[0]}, {len(touched)} in all), which the engine "
            "would ignore: train it on language layers alone, or set the engine's tower_lora if it does not"
        )


def _check_rank(bundle: Path, limit: int) -> None:
    """Known from the bundle at once; the engine would say it only after minutes of starting."""
    try:
        rank = int(json.loads((bundle / CONFIG_FILE).read_bytes())["r"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise AdapterRefused(f"{bundle / CONFIG_FILE} names no LoRA rank `r`") from error
    if rank > limit:
        raise AdapterRefused(f"{bundle} has rank {rank}: raise engine.embedded.max_lora_rank from {limit}")


def _format(name: str, where: str) -> ReasoningFormat:
    if name not in FORMATS:
        raise AdapterRefused(f"{where}: {name!r} is no reasoning format; there are {', '.join(FORMATS)}")
    return FORMATS[name]
