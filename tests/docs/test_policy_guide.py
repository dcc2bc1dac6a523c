"""docs/policy-framework.md states commands, files and settings as they are."""

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest

from policies import __main__ as command
from policies.catalog import FIRST_TEAM_NUMBER, _TeamSettings, load_catalog, packaged_documents
from policies.document import RULE_VERDICTS
from policies.published import REGISTER_FILE
from policies.reply import Flag
from serve.options.adapters import AdapterSettings

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "policy-framework.md").read_text()
COMMANDS = re.findall(r"^\$ \.venv/bin/python -m policies (.*)$", GUIDE, re.MULTILINE)
TABLES: list[dict[str, Any]] = [
    tomllib.loads(text) for text in re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)
]


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_of_the_guide_is_one(line: str) -> None:
    command._parser().parse_args(shlex.split(line))


def test_every_command_is_in_the_guide() -> None:
    subcommands = re.findall(r"\{([a-z,]+)\}", command._parser().format_usage())[0].split(",")
    assert {line.split()[0] for line in COMMANDS} == set(subcommands)


def test_the_settings_of_the_guide_are_valid() -> None:
    team, adapters = TABLES
    settings = _TeamSettings(**team)
    assert settings == _TeamSettings(extends=True, drop=["P10", "P16"])
    assert all(load_catalog().policy(name) for name in settings.drop)
    assert AdapterSettings(**adapters["adapters"][0]).policy_change


def test_what_the_guide_says_of_ids_rules_flags_and_files_holds() -> None:
    assert f"from P{FIRST_TEAM_NUMBER} to P99" in GUIDE
    for rule, verdict in RULE_VERDICTS.items():
        assert re.search(rf"{rule} (demands the verdict )?`{verdict}`", GUIDE)
    assert {Flag.CONTRADICTED_VERDICT, Flag.INVALID_CLAUSE} <= set(re.findall(r"`([a-z_]+)`", GUIDE))
    assert f"policies/documents/{REGISTER_FILE}" in GUIDE
    for name in re.findall(r"policies/documents/([\w-]+\.md)", GUIDE):
        assert (packaged_documents() / name).is_file()
