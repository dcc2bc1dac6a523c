"""Claims about which bundles are served, and under which names."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from policies.bundle import BaseModelIdentity, bundle_digest, model_config_digest, write_manifest
from policies.catalog import load_catalog
from serve.adapters.refused import AdapterRefused
from serve.adapters.registry import Registry, build_registry
from serve.errors import UnknownModel
from serve.settings import Settings
from tests.serve.conftest import Start
from tests.serve.gateways import TOWER_TENSOR, Gateway, ask, write_bundle

Build = Callable[..., Registry]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    directory = tmp_path / "base"
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps({"model_type": "mini"}))
    return directory


@pytest.fixture
def build(base: Path) -> Build:
    def build(*adapters: dict[str, object], **changes: object) -> Registry:
        values: dict[str, object] = {"engine": {"embedded": {"model": str(base)}}, "adapters": adapters}
        settings = Settings(**(values | changes))  # type: ignore[arg-type]
        return build_registry(settings, load_catalog(settings.policies))

    return build


def identity(base: Path) -> BaseModelIdentity:
    return BaseModelIdentity(id="mini", architecture="x", config_digest=model_config_digest(base))


def test_names_of_a_bundle_resolve_to_its_immutable_version(build: Build, base: Path, tmp_path: Path) -> None:
    manifest = write_bundle(tmp_path / "a", base=identity(base))
    registry = build({"bundle": tmp_path / "a", "aliases": ["safe"]})
    assert set(registry.aliases) == {"groundrule", "pst", "safe", "base"}
    for alias in ("groundrule", "pst", "safe"):
        assert registry.resolve(alias).version.engine_name == manifest.served_name
    assert registry.resolve("base").version.engine_name is None


def test_default_alias_never_falls_back_to_the_unaligned_base(build: Build) -> None:
    with pytest.raises(UnknownModel):
        build().resolve("groundrule")


def test_default_alias_is_the_first_bundle(build: Build, base: Path, tmp_path: Path) -> None:
    first = write_bundle(tmp_path / "a", name="one", base=identity(base))
    write_bundle(tmp_path / "b", name="two", weights=b"other", base=identity(base))
    registry = build({"bundle": tmp_path / "a"}, {"bundle": tmp_path / "b"})
    assert registry.resolve("groundrule").version.engine_name == first.served_name
    assert len(registry.adapters) == 2


def test_changed_weights_are_refused(build: Build, base: Path, tmp_path: Path) -> None:
    write_bundle(tmp_path / "a", base=identity(base))
    (tmp_path / "a" / "adapter_model.safetensors").write_bytes(b"tampered")
    with pytest.raises(AdapterRefused, match="changed after it was written"):
        build({"bundle": tmp_path / "a"})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"policy_digest": "f" * 64}, "other policies"),
        ({"base": BaseModelIdentity(id="x", architecture="x", config_digest="f" * 64)}, "another base model"),
        ({"reasoning_format": "no_such"}, "no reasoning format"),
    ],
)
def test_bundle_for_other_circumstances_is_refused(
    build: Build, base: Path, tmp_path: Path, changes: dict[str, object], says: str
) -> None:
    fields: dict[str, Any] = {"base": identity(base)}
    write_bundle(tmp_path / "a", **(fields | changes))
    with pytest.raises(AdapterRefused, match=says):
        build({"bundle": tmp_path / "a"})


def test_rank_beyond_the_engine_is_refused_before_it_starts(build: Build, base: Path, tmp_path: Path) -> None:
    directory = tmp_path / "a"
    directory.mkdir()
    write_bundle(directory, base=identity(base))
    engine = {"embedded": {"model": str(base), "max_lora_rank": 8}}
    assert build({"bundle": directory}, engine=engine).adapters
    (directory / "adapter_config.json").write_text(json.dumps({"r": 16}))
    (directory / "manifest.json").unlink()
    with pytest.raises(AdapterRefused, match=r"manifest\.json"):
        build({"bundle": directory}, engine=engine)


def test_an_adapter_of_the_tower_is_served_only_where_the_engine_is_said_to_load_it(
    build: Build, base: Path, tmp_path: Path
) -> None:
    write_bundle(tmp_path / "a", tensor=TOWER_TENSOR, base=identity(base))
    for engine in ({"embedded": {"model": str(base)}}, {"remote": {"url": "http://127.0.0.1:9"}}):
        with pytest.raises(
            AdapterRefused, match=r"vision tower too \(.*visual.*which the engine would ignore"
        ):
            build({"bundle": tmp_path / "a"}, engine=engine)
        (kind,) = engine
        assert build({"bundle": tmp_path / "a"}, engine={kind: engine[kind] | {"tower_lora": True}}).adapters


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"weights",
        b"\xff" * 8,
        b"\x02" + bytes(7) + b"[]",
        b"\x04" + bytes(7) + b"nope",
        (200_000).to_bytes(8, "little") + b"[" * 200_000,
    ],
)
def test_weights_whose_tensors_cannot_be_told_are_refused(
    build: Build, base: Path, tmp_path: Path, content: bytes
) -> None:
    manifest = write_bundle(tmp_path / "a", base=identity(base))
    (tmp_path / "a" / "adapter_model.safetensors").write_bytes(content)
    digest = bundle_digest(tmp_path / "a")
    write_manifest(tmp_path / "a", manifest.model_copy(update={"digest": digest}))
    with pytest.raises(AdapterRefused, match="is no safetensors file"):
        build({"bundle": tmp_path / "a"})


@pytest.mark.parametrize("content", ["{", "[" * 200_000, "\x00"])
def test_a_base_whose_config_cannot_be_read_is_refused(
    build: Build, base: Path, tmp_path: Path, content: str
) -> None:
    write_bundle(tmp_path / "a", base=identity(base))
    (base / "config.json").write_text(content)
    with pytest.raises(AdapterRefused, match=r"config\.json cannot be read"):
        build({"bundle": tmp_path / "a"})


def test_one_name_for_two_models_is_refused(build: Build, base: Path, tmp_path: Path) -> None:
    write_bundle(tmp_path / "a", base=identity(base))
    with pytest.raises(AdapterRefused, match="two models are called 'base'"):
        build({"bundle": tmp_path / "a", "aliases": ["base"]})


def test_alias_that_could_not_stand_in_a_label_is_refused(build: Build, base: Path, tmp_path: Path) -> None:
    write_bundle(tmp_path / "a", base=identity(base))
    with pytest.raises(AdapterRefused, match="is not an adapter name"):
        build({"bundle": tmp_path / "a", "aliases": ['x"}']})


def test_engine_gets_the_digest_name_and_an_absolute_path(gateway: Gateway, bundle: Path) -> None:
    ((name, path),) = gateway.engine.adapters.items()
    assert name.startswith("pst@")
    assert len(name) == len("pst@") + 12
    assert path == str(bundle.resolve())


def test_models_lists_aliases_with_root_and_parent(gateway: Gateway) -> None:
    cards = {card["id"]: card for card in gateway.get("/v1/models").json()["data"]}
    (name,) = gateway.engine.adapters
    assert (cards["groundrule"]["root"], cards["groundrule"]["parent"]) == (name, "base")
    assert (cards["base"]["root"], cards["base"]["parent"]) == ("base", None)
    assert gateway.openai.models.retrieve("groundrule").id == "groundrule"
    assert gateway.get("/v1/models/nope").status_code == 404


def test_adapter_loaded_already_is_taken_as_it_is(start: Start) -> None:
    with start() as first:
        loaded = dict(first.engine.adapters)
    first.engine.knows_adapters = False  # loading again would fail
    with start() as second:
        assert second.engine.adapters == loaded
        assert second.post(ask()).status_code == 200
