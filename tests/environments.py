"""Python environments of other programs, as their lock files say; each made once, in .cache."""

import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
_INSTALL_S = 900


class NotInstalled(Exception):
    """An environment could not be made; says why in one line."""


def interpreter(name: str) -> Path:
    """Python of the environment of `requirements/<name>.txt`; raises NotInstalled."""
    lock, directory = ROOT / "requirements" / f"{name}.txt", ROOT / ".cache" / f"venv-{name}"
    stamp, python = directory / ".groundrule-installed", directory / "bin" / "python"
    wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
    directory.parent.mkdir(exist_ok=True)
    with directory.with_suffix(".lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            _uv("venv", "--clear", "--python", sys.executable, str(directory))
            _uv("pip", "install", "--python", str(python), "--no-deps", "--require-hashes", "-r", str(lock))
            stamp.write_text(wanted)
    return python


def _uv(*arguments: str) -> None:
    command = [str(Path(sys.executable).with_name("uv")), "--quiet", *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_INSTALL_S, check=False, env=_as_pip()
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalled(f"packages could not be fetched: {error}") from error
    if done.returncode:
        raise NotInstalled("packages could not be fetched: " + " ".join(done.stderr.split())[-300:])


def _as_pip() -> dict[str, str]:
    """uv does not read pip's configuration: a mirror and a certificate of this machine (`install.sh`)."""
    asked = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    configured = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    given = {
        "UV_DEFAULT_INDEX": os.environ.get("PIP_INDEX_URL") or configured,
        "SSL_CERT_FILE": os.environ.get("PIP_CERT", ""),
        "UV_HTTP_TIMEOUT": "300",
    }
    return {**{name: value for name, value in given.items() if value}, **os.environ}
