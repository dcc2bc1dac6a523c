"""Claims about configuration: wrong settings stop the program and are named."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from serve.__main__ import main
from serve.settings import SettingsError, load_settings

GOOD = '[engine.embedded]\nmodel = "some/model"\n'


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.toml"
    path.write_text(GOOD)
    return path


def test_defaults_listen_on_loopback_only(config: Path) -> None:
    settings = load_settings(config)
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.key_digests() == ()


def test_environment_wins_over_the_file(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROUNDRULE_PORT", "9001")
    monkeypatch.setenv("GROUNDRULE_ENGINE__EMBEDDED__MAX_LORA_RANK", "32")
    settings = load_settings(config)
    assert settings.port == 9001
    assert settings.engine.embedded is not None
    assert settings.engine.embedded.model == "some/model"
    assert settings.engine.embedded.max_lora_rank == 32


@pytest.mark.parametrize(
    ("toml", "variables", "names"),
    [
        ("prot = 1\n" + GOOD, {}, "prot: unknown setting"),
        (GOOD + "modle = 1\n", {}, "engine.embedded.modle: unknown setting"),
        (GOOD, {"GROUNDRULE_PROT": "1"}, "prot: unknown setting"),
        (GOOD, {"GROUNDRULE_LIMITS__IMAGE_BITES": "1"}, "limits.image_bites: unknown setting"),
        ('port = "x"\n' + GOOD, {}, "port: "),
        ("", {}, "engine: "),
        (GOOD + '[engine.remote]\nurl = "http://x:1"\n', {}, "exactly one"),
        ('[engine.remote]\nurl = "http://x:1/v1"\n', {}, "engine.remote.url"),
        ('api_keys = "kkkkkkkkkkkkkkkkkkkkkkkk"\n' + GOOD, {}, "GROUNDRULE_API_KEYS"),
        ('[engine.remote]\nurl = "http://x:1"\napi_key = "k"\n', {}, "GROUNDRULE_ENGINE__REMOTE__API_KEY"),
        (GOOD, {"GROUNDRULE_API_KEYS": "short"}, "at least 16"),
        ("[[", {}, "cannot read"),
    ],
)
def test_mistake_stops_the_start_and_is_named(
    config: Path, monkeypatch: pytest.MonkeyPatch, toml: str, variables: dict[str, str], names: str
) -> None:
    config.write_text(toml)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=names.replace(".", r"\.")):
        load_settings(config)


def test_open_to_the_network_with_keys_is_allowed(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROUNDRULE_HOST", "0.0.0.0")
    monkeypatch.setenv("GROUNDRULE_API_KEYS", "k" * 20 + ", " + "l" * 20)
    settings = load_settings(config)
    assert len(settings.key_digests()) == 2
    assert "kkkk" not in repr(settings)


def test_empty_variables_count_as_unset(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROUNDRULE_API_KEYS", "")
    assert load_settings(config).api_keys is None


ANY_HOST = "0.0.0.0"  # as in a container


@pytest.fixture
def taken_port() -> Iterator[int]:
    """Where nobody can listen: a gateway gets as far as that if nothing else is wrong."""
    with socket.create_server((ANY_HOST, 0)) as taken:
        yield taken.getsockname()[1]


@pytest.fixture
def networked(tmp_path: Path, taken_port: int) -> list[str]:
    """The arguments of a gateway that others than this machine could reach."""
    config = tmp_path / "gateway.toml"
    lines = [f'host = "{ANY_HOST}"', f"port = {taken_port}"]
    lines += [f"state_dir = {json.dumps(str(tmp_path / 'state'))}", "[engine.remote]", 'url = "http://x:1"']
    config.write_text("\n".join(lines))
    return ["--config", str(config)]


def test_without_any_key_a_gateway_does_not_open_to_the_network(
    networked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(networked) == 2
    said = capsys.readouterr().err
    assert "keys add" in said
    assert "GROUNDRULE_API_KEYS" in said


@pytest.mark.parametrize("where", ["environment", "table", "table, revoked", "table that is away"])
def test_with_a_key_anywhere_it_does(
    networked: list[str], where: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if where == "environment":
        monkeypatch.setenv("GROUNDRULE_API_KEYS", "k" * 20)
    elif where == "table that is away":
        monkeypatch.setenv("GROUNDRULE_LEDGER__URL", "postgresql://nobody@127.0.0.1:9/nothing")
    else:
        assert main([*networked, "keys", "add", "anybody"]) == 0
    if where == "table, revoked":
        assert main([*networked, "keys", "revoke", "anybody"]) == 0
    assert main(networked) == 2
    assert "the port is taken" in capsys.readouterr().err
