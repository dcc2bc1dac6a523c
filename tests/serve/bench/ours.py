"""Our gateway as it is compared: everything on, or one thing changed. As an operator would start it."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.serve.bench.script import KEY, PATTERNS
from tests.serve.bench.starting import Site, Start, Target, program
from tests.serve.gateways import write_bundle


def ours(name: str, *, mode: str = "enforce", endpoint: bool = False, workers: int = 1) -> Start:
    """Keys, gate, patterns on every stage, ledger on SQLite, metrics, log; a trace is required.

    `endpoint`: another guard of answers behind HTTP, which takes 5 ms.
    """

    @contextmanager
    def start(site: Site) -> Iterator[Target]:
        home = site.directory / name.replace(" ", "-").replace(",", "")
        write_bundle(home / "pst")
        guards = [_PATTERNS]
        if endpoint:
            guards.append({**_ENDPOINT, "url": site.engine_url})

        def command(port: int) -> list[str]:
            config = home / "gateway.toml"
            config.write_text(_toml({
                "port": port,
                "workers": workers,
                "state_dir": str(home / "state"),
                "engine": {"remote": {"url": site.engine_url}},
                "adapters": [{"bundle": str(home / "pst")}],
                "gate": {"mode": mode},
                "guards": guards,
            }))  # fmt: skip
            return [sys.executable, "-m", "serve", "--config", str(config)]

        with program(name, site, command, {"GROUNDRULE_API_KEYS": KEY}) as target:
            yield target

    return start


_PATTERNS: dict[str, Any] = {
    "kind": "patterns",
    "name": "words",
    "stages": ["input", "reasoning", "answer"],
    "patterns": list(PATTERNS),
}
_ENDPOINT: dict[str, Any] = {
    "kind": "endpoint",
    "name": "moderation",
    "stages": ["answer"],
    "format": "openai_moderation",
}


def _toml(values: dict[str, Any]) -> str:
    """One value a line: what is JSON is TOML, too, but for the sign between name and value."""
    return "".join(f"{name} = {_inline(value)}\n" for name, value in values.items())


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {_inline(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return json.dumps(value)
