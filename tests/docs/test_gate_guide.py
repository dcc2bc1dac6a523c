"""docs/gate.md tells the modes, checks, formats and refused parameters that the code has, and no other."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel, TypeAdapter

from policies.trimming import MAX_TEXT_CHARS
from serve.api import parameters
from serve.api.handling import DEFAULT_SEVERITIES
from serve.engine.breaker import FAILURES
from serve.errors import UnsupportedParameter
from serve.gate.formats import FORMATS
from serve.gate.panel import MOST_AT_ONCE, MOST_DEADLINES
from serve.gate.patterns import PADDING, WIDEST
from serve.gate.values import MOST_OF_A_REQUEST, Action, Handling, Mode
from serve.gate.wording import REPLACED, WITHHELD
from serve.options.gate import EndpointGuard, GateSettings, GuardrailSettings, GuardSettings, PatternGuard

GUIDE = (Path(__file__).parents[2] / "docs" / "gate.md").read_text()
STREAM_OPTIONS = {"stream_options.continuous_usage_stats", "stream_options.include_obfuscation"}
HIDING = parameters.Circumstances(Handling(Mode.ENFORCE, shown="none"), parses_reasoning=False)


def section(heading: str) -> str:
    level = heading.split(" ")[0]
    body = GUIDE.split(f"\n{heading}\n", 1)[1]
    return re.split(rf"\n#{{2,{len(level)}}} ", body, maxsplit=1)[0]


def rows(heading: str, first: str) -> list[list[str]]:
    """Cells of the section's tables whose first column is called so."""
    tables = re.findall(rf"^\| {first} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", section(heading), re.MULTILINE)
    return [re.split(r" *\| *", line)[1:-1] for table in tables for line in table.splitlines()]


def named(heading: str, first: str) -> list[str]:
    return [row[0].strip("`") for row in rows(heading, first)]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


def test_modes_are_those_of_the_code() -> None:
    assert named("## Modes", "mode") == [mode.word for mode in Mode]


def test_actions_and_their_sentences_are_those_of_the_code() -> None:
    told = {row[0].strip("`"): row[1] for row in rows("## What a caller sees of a block", "`action`")}
    assert set(told) == set(get_args(Action))
    assert (told["withheld"], told["replaced"]) == (WITHHELD, REPLACED)
    quoted = re.findall(r'"refusal": ?"([^"]+)"', GUIDE)
    assert set(quoted) == {WITHHELD, REPLACED}


def test_checks_and_their_severities_are_those_of_the_code() -> None:
    told = {row[0].strip("`"): row[2].strip("`") for row in rows("## Built-in checks", "check")}
    assert told == {check: str(severity) for check, severity in DEFAULT_SEVERITIES.items()}


def test_formats_are_those_of_the_code() -> None:
    told = {row[0].strip("`"): row for row in rows("### Endpoints", "format")}
    assert list(told) == list(FORMATS)
    for name, format_ in FORMATS.items():
        assert set(told[name][1].split(", ")) == format_.stages, name
        assert told[name][4].strip("`") == format_.key_header, name


@pytest.mark.parametrize(
    ("heading", "guard"), [("### Patterns", PatternGuard), ("### Endpoints", EndpointGuard)]
)
def test_every_field_of_a_guard_is_explained_with_its_default(heading: str, guard: type[BaseModel]) -> None:
    told = {row[0].strip("`"): row[1] for row in rows(heading, "field")}
    assert list(told) == list(guard.model_fields)
    for name, field in guard.model_fields.items():
        default = told[name]
        if name == "stages":
            assert tuple(re.findall(r"\w+", default)) == field.default
        elif default.startswith("`"):
            assert default.strip("`") == str(field.default).lower()
        else:
            assert (default == "–") == field.is_required(), name


def test_tables_in_the_guide_are_accepted() -> None:
    for block in blocks("toml"):
        told = tomllib.loads(block)
        assert told.keys() <= {"guards", "gate"}
        TypeAdapter(tuple[GuardSettings, ...]).validate_python(tuple(told.get("guards", ())))
        TypeAdapter(GateSettings).validate_python(told.get("gate", {}))


def test_settings_named_exist() -> None:
    told = set(re.findall(r"`(gate|guardrail)\.(\w+)", GUIDE))
    known = {("gate", name) for name in GateSettings.model_fields}
    known |= {("guardrail", name) for name in GuardrailSettings.model_fields}
    assert told <= known


def test_sizes_are_those_of_the_code() -> None:
    assert f"at most {WIDEST} characters wide" in GUIDE
    assert f"more than {PADDING} invisible characters" in GUIDE
    assert f"more than {MAX_TEXT_CHARS:,} do" in GUIDE


def test_turns_of_guards_are_those_of_the_code() -> None:
    assert f"asked about {MOST_AT_ONCE} excerpts at a time, {MOST_OF_A_REQUEST} of them" in GUIDE
    assert (MOST_DEADLINES, FAILURES) == (10, 5)
    assert "ten times its `deadline_s`" in GUIDE
    assert "over five requests in a row" in GUIDE


def refused() -> set[str]:
    tables: tuple[Any, ...] = (
        parameters.FORGING,
        parameters.UNREAD,
        parameters.STEERING,
        parameters.FORMS,
    )
    return {name for table in tables for name in table} | STREAM_OPTIONS | {"logprobs"}


def test_every_refused_parameter_is_named_and_no_other() -> None:
    told = named("## Parameters that are refused", "parameter")
    assert len(told) == len(set(told))
    assert set(told) == refused()


def asking(name: str, value: object) -> dict[str, Any]:
    outer, _, inner = name.partition(".")
    return {outer: {inner: value}} if inner else {outer: value}


@pytest.mark.parametrize("row", rows("## Parameters that are refused", "parameter"), ids=lambda row: row[0])
def test_a_parameter_is_refused_but_for_the_values_told(row: list[str]) -> None:
    name = row[0].strip("`")
    values = [json.loads(value) for value in re.findall(r"`([^`]+)`", row[1])]
    for value in (None, *values):
        parameters.check(asking(name, value), HIDING)
    loud: object = False if True in values else {"something": "else"}
    with pytest.raises(UnsupportedParameter) as caught:
        parameters.check(asking(name, loud), HIDING)
    assert caught.value.param == name


def test_what_is_no_variable_of_a_template_is_named() -> None:
    told = section("## Parameters that are refused").split("`chat_template_kwargs`", 1)[1].split(":\n", 1)[0]
    assert set(re.findall(r"`(\w+)`", told)) == parameters.RENDERING
