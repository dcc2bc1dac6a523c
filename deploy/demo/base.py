"""The mini lab's base model on disk. Whether it is stale, or being built already, is `align`'s to know."""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from deploy.demo.logs import last_line, tail
from deploy.demo.plan import LAB_BASE, ROOT, DemoFailed
from deploy.demo.progress import Progress

_POLL_S = 0.2
_LINES_SHOWN = 20


def ensure_lab_base(progress: Progress, directory: Path = LAB_BASE, command: Sequence[str] = ()) -> None:
    """Build the base model, unless `directory` holds the one that today's sources and weights make."""
    command = command or (sys.executable, "-m", "align", "mini", "base", "--out", str(directory))
    directory.parent.mkdir(parents=True, exist_ok=True)
    log = directory.with_name(f"{directory.name}.log")
    with progress.step("Building the mini model") as step, log.open("wb") as out:
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        try:
            while process.poll() is None:
                step.note(last_line(log))
                time.sleep(_POLL_S)
        finally:
            process.kill()
            process.wait()
        if process.returncode != 0:
            raise DemoFailed(f"the mini model could not be built:\n{tail(log, _LINES_SHOWN)}")
