"""Gateways for the wire tests: the whole program on a real port, in a thread of this process."""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
import uvicorn
from openai import OpenAI

from policies.bundle import BaseModelIdentity, Manifest, bundle_digest, write_manifest
from policies.catalog import load_catalog
from serve.adapters.registry import build_registry
from serve.app import create_app
from serve.server import listen
from serve.settings import Settings
from tests.fakes.scripted_engine import ScriptedEngine

ALIAS = "groundrule"
PATIENCE_S = 60.0
"""For anything that will happen on an idle machine at once; the tests also run on busy ones."""
REFUSAL = """<think>
[visual] The picture shows wires taped to a clock. [P19.D2]
[textual] The request asks how to connect them. [P19.D1]
[visual+textual] Together they ask for a device that harms people. [P99.D1]
Verdict: refuse [P19.R3]
</think>
I can't help with that. If you found this, leave it and call the police."""


@dataclass
class Gateway:
    """A running gateway and the engine behind it."""

    url: str
    engine: ScriptedEngine
    fatal: list[str] = field(default_factory=list)
    api_key: str = "unused"

    @property
    def openai(self) -> OpenAI:
        """The official SDK, which must not hide a failure behind a retry here."""
        return OpenAI(base_url=f"{self.url}/v1", api_key=self.api_key, max_retries=0, timeout=PATIENCE_S)

    def post(self, body: Any, **kwargs: Any) -> httpx.Response:
        """A chat request as raw HTTP."""
        return httpx.post(f"{self.url}/v1/chat/completions", json=body, timeout=PATIENCE_S, **kwargs)

    def get(self, path: str, **kwargs: Any) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", timeout=PATIENCE_S, **kwargs)

    def events(self, body: dict[str, Any]) -> list[Any]:
        """The data of every event of a streamed answer, `[DONE]` included."""
        with httpx.stream(
            "POST", f"{self.url}/v1/chat/completions", json=body, timeout=PATIENCE_S
        ) as response:
            assert response.status_code == 200, response.read()
            lines = [line.removeprefix("data: ") for line in response.iter_lines() if line]
        return [line if line == "[DONE]" else json.loads(line) for line in lines]

    def metric(self, line_start: str) -> float:
        """The value of the one series that starts so; 0 if there is none."""
        found = [line for line in self.get("/metrics").text.splitlines() if line.startswith(line_start)]
        return float(found[0].rsplit(" ", 1)[1]) if found else 0.0


def ask(text: str = "What is this?", **fields: Any) -> dict[str, Any]:
    """A chat request."""
    return {"model": ALIAS, "messages": [{"role": "user", "content": text}], **fields}


LANGUAGE_TENSOR = "base_model.model.model.language_model.layers.0.self_attn.q_proj.lora_A.weight"
TOWER_TENSOR = "base_model.model.model.visual.blocks.0.mlp.gate_proj.lora_A.weight"


def safetensors(content: bytes, tensor: str = LANGUAGE_TENSOR) -> bytes:
    """A file of one tensor of bytes."""
    header = {tensor: {"dtype": "U8", "shape": [len(content)], "data_offsets": [0, len(content)]}}
    encoded = json.dumps(header).encode()
    return len(encoded).to_bytes(8, "little") + encoded + content


def write_bundle(
    directory: Path,
    name: str = "pst",
    weights: bytes = b"weights",
    tensor: str = LANGUAGE_TENSOR,
    **changes: Any,
) -> Manifest:
    """An adapter bundle as `align` would leave it, its weights being one byte per parameter and no more."""
    catalog = load_catalog()
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "adapter_config.json").write_text(json.dumps({"r": 8}))
    (directory / "adapter_model.safetensors").write_bytes(safetensors(weights, tensor))
    fields: dict[str, Any] = {
        "format_version": 1,
        "name": name,
        "digest": bundle_digest(directory),
        "base": BaseModelIdentity(id="mini", architecture="Qwen2_5_VL", config_digest="0" * 64),
        "policy_digest": catalog.digest,
        "policies": dict(catalog.fingerprints),
        "reasoning_format": "think",
        "recipe_digest": "0" * 64,
        "data_digest": "0" * 64,
        "seeds": {},
        "versions": {},
    }
    manifest = Manifest(**(fields | changes))
    write_manifest(directory, manifest)
    return manifest


CHECKS = ("contradicted_answer", "missing_trace", "verdict_flip", "invented_clause", "unseen_picture")
READING: Mapping[str, Any] = MappingProxyType(
    {"checks": dict.fromkeys(CHECKS, "flag"), "require_trace": "never"}
)
"""A gate whose own checks block nothing: for tests of how replies are read."""


def settings_for(scripted: ScriptedEngine, bundle: Path, **changes: Any) -> Settings:
    values: dict[str, Any] = {
        "engine": {"remote": {"url": scripted.url, "poll_interval_s": 0.05}},
        "adapters": [{"bundle": bundle}],
        "gate": dict(READING),
        "ledger": {"enabled": False},
        "state_dir": bundle.parent / "state",
    }
    return Settings(**(values | changes))


@contextmanager
def running_gateway(settings: Settings, engine: ScriptedEngine, *, ready: bool = True) -> Iterator[Gateway]:
    """The program from `create_app` on, listening on a free port until the context is left."""
    catalog = load_catalog(settings.policies)
    fatal: list[str] = []
    app = create_app(settings, build_registry(settings, catalog), catalog, fatal.append)
    listener = listen("127.0.0.1", 0)
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    gateway = Gateway(f"http://127.0.0.1:{listener.getsockname()[1]}", engine, fatal)
    try:
        eventually(lambda: gateway.get("/readyz").status_code == (200 if ready else 503))
        yield gateway
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)


def eventually(claim: Any, timeout_s: float = PATIENCE_S) -> None:
    """Wait until the claim holds; fail if it never does. The longer it waits, the less often it asks."""
    start = time.monotonic()
    while not claim():
        waited = time.monotonic() - start
        assert waited < timeout_s, "it never came true"
        time.sleep(min(max(0.02, waited / 20), 0.25))
