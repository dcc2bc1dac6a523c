"""Claims about how strictly a request is handled: gateway, key and request each have a word."""

from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from policies.formats import THINK
from serve.adapters.registry import Version
from serve.api.handling import DEFAULT_SEVERITIES, handling_of
from serve.door.caller import ANONYMOUS, Caller
from serve.errors import InvalidRequest
from serve.gate.values import Handling, Mode, Severity
from serve.options.gate import GateSettings
from tests.serve.answering import answering, ask

ALIGNED = Version("pst@1", THINK, MappingProxyType({}), bundle=Path("pst"))
MERGED = Version("merged", THINK, MappingProxyType({}), is_merged=True)
AS_PUBLISHED = Version(None, THINK, MappingProxyType({}))
NAMES = ("observe", "enforce", "stricter")
PAIRS = tuple(product(NAMES, NAMES))


def handled(
    gateway: str = "enforce",
    key: str | None = None,
    asked: str | None = None,
    version: Version = ALIGNED,
    **gate: Any,
) -> Handling:
    caller = Caller("k_1", "one", mode=Mode.of(key) if key else None)
    settings = GateSettings.model_validate({"mode": gateway, **gate})
    return handling_of(settings, caller, version, asked_mode=asked)


@pytest.mark.parametrize(("demanded", "asked"), PAIRS)
def test_a_request_may_ask_for_stricter_and_never_for_laxer(demanded: str, asked: str) -> None:
    if NAMES.index(asked) < NAMES.index(demanded):
        with pytest.raises(InvalidRequest) as refused:
            handled(demanded, asked=asked)
        assert refused.value.param == "safety.mode"
    else:
        assert handled(demanded, asked=asked).mode is Mode.of(asked)


@pytest.mark.parametrize(("gateway", "key"), PAIRS)
def test_a_key_is_handled_as_its_operator_said_whatever_the_gateway_does(gateway: str, key: str) -> None:
    assert handled(gateway, key).mode is Mode.of(key)


def test_a_request_cannot_undercut_its_key_where_the_gateway_is_laxer() -> None:
    with pytest.raises(InvalidRequest):
        handled("observe", "enforce", "observe")


def test_nobody_without_a_key_is_handled_otherwise_than_the_gateway_says() -> None:
    settings = GateSettings(mode="stricter")
    assert handling_of(settings, ANONYMOUS, ALIGNED).mode is Mode.STRICTER


@pytest.mark.parametrize(
    ("require_trace", "of_adapter", "of_merged", "of_base"),
    [("adapters", True, True, False), ("always", True, True, True), ("never", False, False, False)],
)
def test_a_trace_is_owed_by_whoever_was_trained_to_write_one(
    require_trace: str, of_adapter: bool, of_merged: bool, of_base: bool
) -> None:
    for version, owes in ((ALIGNED, of_adapter), (MERGED, of_merged), (AS_PUBLISHED, of_base)):
        assert handled(version=version, require_trace=require_trace).requires_trace is owes


def test_settings_change_single_checks_and_stricter_makes_all_of_them_block() -> None:
    changed = {"checks": {"invented_clause": "block", "missing_trace": "flag"}}
    usual = handled(**changed).severities
    assert usual["invented_clause"] is Severity.BLOCK
    assert usual["missing_trace"] is Severity.FLAG
    assert usual["unseen_picture"] is DEFAULT_SEVERITIES["unseen_picture"]
    assert set(handled(asked="stricter", **changed).severities.values()) == {Severity.BLOCK}
    assert usual.keys() == DEFAULT_SEVERITIES.keys()


def test_a_laxer_wish_is_told_before_the_engine_is_asked() -> None:
    with answering() as gateway:
        answer = gateway.post(ask(safety={"mode": "observe"}))
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == "safety.mode"
        assert gateway.engines.history == []
