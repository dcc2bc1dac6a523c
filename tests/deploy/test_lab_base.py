"""Building the mini model: once, whoever asks; again when what it is made of has changed."""

import io
import sys
import threading
from pathlib import Path

import pytest
from rich.console import Console

from deploy.demo import base
from deploy.demo.plan import DemoFailed
from deploy.demo.progress import Progress


def progress() -> Progress:
    return Progress(Console(file=io.StringIO()), Console(file=io.StringIO()))


def building(directory: Path, log: Path) -> tuple[str, ...]:
    """A stand-in for the build, slow enough for two to meet, that leaves a line for every run."""
    script = f"""
import pathlib, time
with open({str(log)!r}, "a") as log: log.write("built\\n")
time.sleep(0.3)
directory = pathlib.Path({str(directory)!r})
directory.mkdir(exist_ok=True)
(directory / "config.json").write_text("{{}}")
"""
    return sys.executable, "-c", script


def test_two_demos_build_once(tmp_path: Path) -> None:
    directory, log = tmp_path / "mini" / "base", tmp_path / "log"
    command = building(directory, log)
    threads = [
        threading.Thread(target=base.ensure_lab_base, args=(progress(), directory, command)) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert log.read_text() == "built\n"


def test_new_weights_make_the_model_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory, log = tmp_path / "base", tmp_path / "log"
    command = building(directory, log)
    base.ensure_lab_base(progress(), directory, command)
    base.ensure_lab_base(progress(), directory, command)
    assert log.read_text() == "built\n"
    monkeypatch.setattr(base, "origin", lambda: "made of something else")
    base.ensure_lab_base(progress(), directory, command)
    assert log.read_text() == "built\nbuilt\n"


def test_a_failed_build_says_why_and_is_tried_again(tmp_path: Path) -> None:
    directory = tmp_path / "base"
    with pytest.raises(DemoFailed, match="no room left"):
        base.ensure_lab_base(
            progress(), directory, (sys.executable, "-c", "raise SystemExit('no room left')")
        )
    base.ensure_lab_base(progress(), directory, building(directory, tmp_path / "log"))
    assert (directory / "config.json").is_file()
