"""docs/audit.md and docs/engines.md name columns, options, paths, reasons and kinds as they are."""

import argparse
import re
import tomllib
from pathlib import Path

import pytest

from serve.commands import add_commands
from serve.door.auth import OPEN_PATHS, SCOPES
from serve.door.caller import Scope
from serve.drain import LAST_WORDS_S
from serve.engine.kinds import _SGLANG_IGNORES, _TRANSFORMERS_READS, KINDS
from serve.ledger import audit
from serve.ledger.tables import CONTENTS, INTERACTIONS
from serve.options.adapters import ModelSettings
from serve.options.engine import EngineKind
from serve.settings import Settings

ROOT = Path(__file__).parents[2]
AUDIT = (ROOT / "docs" / "audit.md").read_text()
ENGINES = (ROOT / "docs" / "engines.md").read_text()


def section(guide: str, title: str) -> str:
    """What stands below a heading, up to the next one of any level."""
    return re.split(r"\n##+ ", re.split(rf"\n##+ {title}\n", guide, maxsplit=1)[1], maxsplit=1)[0]


def rows(text: str) -> list[list[str]]:
    """Cells of the rows whose first cell is a name."""
    lines = re.findall(r"^\| `[^|]*\|.*\|$", text, re.MULTILINE)
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]


def names(text: str) -> list[str]:
    return [row[0] for row in rows(text)]


def parser_of(*path: str) -> argparse.ArgumentParser:
    """The parser of a command below the program's own."""
    parser = argparse.ArgumentParser()
    add_commands(parser)
    for name in path:
        (commands,) = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
        parser = commands.choices[name]
    return parser


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    return {name for action in parser._actions for name in action.option_strings} - {"-h", "--help"}


def test_every_column_of_a_row_is_explained_in_its_order() -> None:
    assert names(section(AUDIT, "What a row holds")) == [column.name for column in INTERACTIONS.columns]
    assert names(section(AUDIT, "Content")) == [column.name for column in CONTENTS.columns]


def test_every_option_of_a_new_key_is_explained() -> None:
    explained = {name for name in names(section(AUDIT, "Keys")) if name.startswith("--")}
    assert explained == options_of(parser_of("keys", "add"))


@pytest.mark.parametrize("words", re.findall(r"-m serve (.*)$", AUDIT, re.MULTILINE))
def test_commands_of_the_guide_are_understood(words: str) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config")
    add_commands(parser)
    assert parser.parse_args(words.split()).command in ("keys", "migrate")


def test_every_scope_and_what_it_opens_is_explained() -> None:
    told = {row[0]: row[1] for row in rows(section(AUDIT, "Keys")) if not row[0].startswith("--")}
    assert told.keys() == {scope.value for scope in Scope}
    for path, scope in SCOPES.items():
        assert path in re.findall(r"/[\w/]+", told[scope.value])


def test_paths_without_a_key_are_those_of_the_door() -> None:
    assert set(names(section(AUDIT, "Paths without a key"))) == OPEN_PATHS


def test_every_reason_for_not_being_let_in_is_explained() -> None:
    sources = [path.read_text() for path in (ROOT / "serve").rglob("*.py")]
    given = {reason for text in sources for reason in re.findall(r"rejected\.labels\(\"(\w+)\"\)", text)}
    assert set(names(section(AUDIT, "Who was not let in"))) == given


def test_every_kind_is_explained_and_what_it_can() -> None:
    told = {row[0]: row[1:] for row in rows(section(ENGINES, "Kinds"))}
    assert told.keys() == {kind.value for kind in EngineKind}
    for name, (adapters, strict, tokenizes, *_) in told.items():
        kind = KINDS[EngineKind(name)]
        for cell, can in (
            (adapters, kind.loads_adapters),
            (strict, kind.strict),
            (tokenizes, kind.tokenizes),
        ):
            assert cell.startswith("yes" if can else "no"), name


def test_parameters_that_are_refused_or_read_are_listed() -> None:
    text = section(ENGINES, "Kinds")
    for lead, fields in (
        ("SGLang ignores", _SGLANG_IGNORES),
        ("`transformers serve` reads", _TRANSFORMERS_READS),
    ):
        listed = re.split(r"[.;]", text.split(f"\n{lead}", 1)[1].split(":", 1)[1], maxsplit=1)[0]
        assert set(re.findall(r"`(\w+)`", listed)) == fields


def test_every_key_of_a_whole_model_is_explained() -> None:
    assert set(names(section(ENGINES, "Adapters and merged weights"))) == set(ModelSettings.model_fields)


def test_settings_in_the_guide_are_taken() -> None:
    for block in re.findall(r"```toml\n(.*?)```", ENGINES, re.DOTALL):
        assert Settings(**tomllib.loads(block)).engine.pools


def test_times_of_an_end_are_those_of_the_code() -> None:
    settings = Settings.model_fields
    longest = settings["drain_grace_s"].default + settings["drain_timeout_s"].default + LAST_WORDS_S
    assert f"{longest + audit._LAST_SHIPPING_S:g} s" in section(ENGINES, "Stopping")
    assert f"drain_timeout_s + {LAST_WORDS_S} + {audit._LAST_SHIPPING_S:g} s" in section(ENGINES, "Stopping")
