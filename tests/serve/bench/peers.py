"""What others offer, in an environment of its own: vllm-router and LiteLLM's proxy; and a pass-through.

Versions and hashes stand in `requirements/peers.txt`. One that cannot be had is told by name (CouldNotRun).
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from serve.engine.launch import free_port
from tests.environments import NotInstalled, interpreter
from tests.serve.bench.script import ALIAS, KEY, PATTERNS
from tests.serve.bench.starting import CouldNotRun, Site, Start, Target, program

ROUTER, LITELLM, LITELLM_GUARDED = "vllm-router", "LiteLLM", "LiteLLM, guardrail"


def installed() -> Path:
    """The environment's `bin`, as the lock says; installed once. Raises CouldNotRun."""
    try:
        return interpreter("peers").parent
    except NotInstalled as error:
        raise CouldNotRun(str(error)) from error


@contextmanager
def pass_through(site: Site) -> Iterator[Target]:
    """Thirty lines of FastAPI and aiohttp."""

    def command(port: int) -> list[str]:
        return [sys.executable, "-m", "tests.serve.bench.passthrough", str(port), site.engine_url]

    with program("FastAPI + aiohttp", site, command) as target:
        yield target


@contextmanager
def vllm_router(site: Site) -> Iterator[Target]:
    """With its metrics; it asks for no key."""
    binary = installed() / "vllm-router"

    def command(port: int) -> list[str]:
        own = ["--host", "127.0.0.1", "--port", str(port), "--prometheus-port", str(free_port())]
        engine = ["--worker-urls", site.engine_url, "--policy", "round_robin"]
        return [str(binary), *own, *engine, "--log-level", "error"]

    with program(ROUTER, site, command) as target:
        yield target


def litellm(name: str, *, guarded: bool) -> Start:
    """One worker and a master key, without its database and metrics.

    `guarded`: a guardrail of the bench's patterns on request and reply, the reply buffered until it passed.
    """

    @contextmanager
    def start(site: Site) -> Iterator[Target]:
        binary = installed() / "litellm"
        home = site.directory / name.replace(" ", "-").replace(",", "")
        home.mkdir()
        config = home / "config.yaml"
        # YAML holds JSON.
        config.write_text(json.dumps(_configuration(site, guarded)))
        source = Path(__file__).with_name("litellm_guardrail.py")
        (home / source.name).write_bytes(source.read_bytes())

        def command(port: int) -> list[str]:
            own = ["--host", "127.0.0.1", "--port", str(port), "--num_workers", "1", "--telemetry", "False"]
            return [str(binary), "--config", str(config), *own]

        variables = {
            "BENCH_PATTERNS": json.dumps(PATTERNS),
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_LOG": "ERROR",
            "LITELLM_MODE": "PRODUCTION",
            "PYTHONPATH": "",
        }
        with program(name, site, command, variables) as target:
            yield target

    return start


def _configuration(site: Site, guarded: bool) -> dict[str, Any]:
    engine = {"model": "openai/base", "api_base": f"{site.engine_url}/v1", "api_key": "none"}
    guardrail = {
        "guardrail": "litellm_guardrail.PatternGuardrail",
        "mode": ["pre_call", "post_call"],
        "default_on": True,
        "streaming_buffer_until_moderated": True,
    }
    return {
        "model_list": [{"model_name": ALIAS, "litellm_params": engine}],
        "general_settings": {"master_key": KEY},
        **({"guardrails": [{"guardrail_name": "words", "litellm_params": guardrail}]} if guarded else {}),
    }
