"""docs/serving.md names every setting, error code, metric and path there is, and no other."""

import re
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import pytest
from prometheus_client import CollectorRegistry
from pydantic import BaseModel

from policies.catalog import load_catalog
from policies.reply import TOLERATED_FLAGS, Flag
from serve import errors
from serve.adapters.registry import build_registry
from serve.api.asking import MOST_LEVELS
from serve.app import create_app
from serve.observe.metrics import Metrics
from serve.settings import ENV_PREFIX, Settings

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "serving.md").read_text()


def setting_names(model: type[BaseModel], prefix: str = ENV_PREFIX) -> Iterator[str]:
    """The environment variables of a settings model; a list of tables is one JSON variable."""
    for name, field in model.model_fields.items():
        table = _table(field.annotation)
        if table:
            yield from setting_names(table, f"{prefix}{name.upper()}__")
        else:
            yield f"{prefix}{name.upper()}"


def _table(annotation: Any) -> type[BaseModel] | None:
    options = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    tables = [option for option in options if isinstance(option, type) and issubclass(option, BaseModel)]
    return tables[0] if tables else None


def error_codes(error: type[errors.GatewayError] = errors.GatewayError) -> Iterator[str]:
    yield error.code
    for kind in error.__subclasses__():
        yield from error_codes(kind)


def metric_names() -> set[str]:
    registry = CollectorRegistry()
    Metrics(registry)
    return {f"{m.name}_total" if m.type == "counter" else m.name for m in registry.collect()}


def first_column(section: str) -> set[str]:
    """What the first column of a section's table names."""
    body = re.split(r"\n## ", GUIDE.split(f"\n## {section}\n", 1)[1], maxsplit=1)[0]
    return set(re.findall(r"^\| `([^`]+)` \|", body, re.MULTILINE))


def test_every_setting_is_explained_and_every_explained_one_exists() -> None:
    assert first_column("Settings") == set(setting_names(Settings))


def test_defaults_in_the_guide_are_those_of_the_code() -> None:
    defaults = dict(re.findall(r"^\| `(GROUNDRULE_\w+)` \| `([^`]*)` \|", GUIDE, re.MULTILINE))
    for variable, told in defaults.items():
        owner: type[BaseModel] | None = Settings
        *tables, name = variable.removeprefix(ENV_PREFIX).lower().split("__")
        for table in tables:
            assert owner is not None
            owner = _table(owner.model_fields[table].annotation)
        assert owner is not None
        assert str(owner.model_fields[name].default) == told, variable


def test_every_error_code_is_explained() -> None:
    # Set on the instance, when the engine's message says so.
    assert first_column("Errors") == {*error_codes(), "context_length_exceeded"}


def test_how_deep_a_body_may_be_is_told() -> None:
    assert f"nested {MOST_LEVELS} levels deep" in GUIDE


def test_every_flag_is_explained_and_the_harmless_one_named() -> None:
    assert first_column("Flags") == set(Flag)
    harmless = re.findall(r"Everything but\n`(\w+)` means", GUIDE)
    assert set(harmless) == TOLERATED_FLAGS


def test_every_metric_is_explained() -> None:
    assert first_column("Metrics") == metric_names()


def test_every_path_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in setting_names(Settings):
        monkeypatch.delenv(name, raising=False)
    settings = Settings(engine={"remote": {"url": "http://engine"}})  # type: ignore[arg-type]
    catalog = load_catalog()
    app = create_app(settings, build_registry(settings, catalog), catalog, print)
    paths = {*app.openapi()["paths"], app.openapi_url}
    assert {name.split()[1] for name in first_column("Endpoints")} == paths


@pytest.mark.parametrize(
    "file", ["README.md", "docs/*.md", "deploy/*.y*ml", "Dockerfile", "clients/python/README.md"]
)
def test_settings_and_metrics_named_anywhere_exist(file: str) -> None:
    known = {*setting_names(Settings), *metric_names()}
    for path in ROOT.glob(file):
        named = re.findall(
            r"\bGROUNDRULE_[A-Z][A-Z_]*[A-Z]\b|\bgroundrule_[a-z_]+(?:_total|_seconds)\b", path.read_text()
        )
        assert set(named) <= known, path
