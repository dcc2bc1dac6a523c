"""Claims about models that are served as they are, and about which pool has what."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from policies.catalog import load_catalog
from serve.adapters.refused import AdapterRefused
from serve.adapters.registry import Registry, build_registry
from serve.errors import UnknownModel
from serve.settings import Settings
from tests.serve.gateways import TOWER_TENSOR, write_bundle

Json = dict[str, Any]
Build = Callable[..., Registry]

VLLM: Json = {"name": "main", "urls": ["http://127.0.0.1:9"]}
COT: Json = {"name": "cot", "kind": "transformers", "urls": ["http://127.0.0.1:8"]}
LLAVA_COT: Json = {"alias": "llava-cot", "pool": "cot", "reasoning_format": "llava_cot"}


@pytest.fixture
def build() -> Build:
    def build(*pools: Json, **changes: Any) -> Registry:
        settings = Settings(**{"engine": {"pools": pools}, **changes})
        return build_registry(settings, load_catalog())

    return build


def test_merged_weights_are_aligned_and_read_in_their_own_format(build: Build) -> None:
    version = build(COT, models=[LLAVA_COT | {"model": "/models/merged"}]).resolve("llava-cot").version
    assert version.is_aligned
    assert version.is_merged
    assert version.format.name == "llava_cot"
    assert (version.pool, version.engine_name) == ("cot", "/models/merged")
    assert version.clauses == load_catalog().citable
    assert version.adapter is None  # a path is none of a caller's business


def test_the_default_alias_is_the_first_aligned_model(build: Build, bundle: Path) -> None:
    plain = {"alias": "plain", "pool": "cot", "model": "a", "aligned": False}
    merged = LLAVA_COT | {"model": "b"}
    registry = build(COT, models=[plain, merged])
    assert registry.resolve("groundrule").version is registry.resolve("llava-cot").version
    assert not registry.resolve("plain").version.is_aligned
    with pytest.raises(UnknownModel):
        build(COT, models=[plain]).resolve("groundrule")
    both = build(VLLM, COT, models=[LLAVA_COT], adapters=[{"bundle": bundle}])
    assert both.resolve("groundrule").version.bundle == bundle


def test_the_base_alias_is_no_way_around_the_traces_of_merged_weights(build: Build, bundle: Path) -> None:
    assert "base" not in build(COT, models=[LLAVA_COT]).aliases
    assert "base" not in build(COT | {"model": "m"}, models=[LLAVA_COT | {"model": "m"}]).aliases
    both = build(VLLM, COT, models=[LLAVA_COT], adapters=[{"bundle": bundle}])
    assert both.resolve("base").version.pool == "main"
    assert build(COT).resolve("base").version.pool == "cot"


def test_adapters_belong_to_the_pool_that_is_named_or_to_the_first_that_loads_them(
    build: Build, bundle: Path
) -> None:
    other = VLLM | {"name": "other", "kind": "sglang"}
    for adapter, pool in (({}, "main"), ({"pool": "other"}, "other")):
        registry = build(COT, VLLM, other, models=[LLAVA_COT], adapters=[{"bundle": bundle, **adapter}])
        (version,) = registry.adapters
        assert version.pool == pool
        assert version in registry.of_pool(pool)
        assert version not in registry.of_pool("cot")


@pytest.mark.parametrize("kind", ["transformers", "vllm-0.10"])
def test_an_adapter_for_engines_that_load_none_is_refused(build: Build, bundle: Path, kind: str) -> None:
    with pytest.raises(AdapterRefused, match="loads no adapters"):
        build(COT | {"kind": kind}, adapters=[{"bundle": bundle}])
    with pytest.raises(AdapterRefused, match="pool cot"):
        build(VLLM, COT | {"kind": kind}, adapters=[{"bundle": bundle, "pool": "cot"}])


def test_an_adapter_of_the_tower_needs_a_pool_that_loads_it(build: Build, tmp_path: Path) -> None:
    write_bundle(tmp_path / "a", tensor=TOWER_TENSOR)
    with pytest.raises(AdapterRefused, match="vision tower"):
        build(VLLM, adapters=[{"bundle": tmp_path / "a"}])
    assert build(VLLM | {"tower_lora": True}, adapters=[{"bundle": tmp_path / "a"}]).adapters


def test_a_model_of_an_unknown_format_is_refused(build: Build) -> None:
    with pytest.raises(AdapterRefused, match="llava-cot: 'no_such' is no reasoning format"):
        build(COT, models=[LLAVA_COT | {"reasoning_format": "no_such"}])
