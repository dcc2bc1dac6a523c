"""Bringing the mini model up, with a stand-in for the build."""

import io
import sys
from pathlib import Path

import pytest
from rich.console import Console

from deploy.demo.base import ensure_lab_base
from deploy.demo.plan import DemoFailed
from deploy.demo.progress import Progress


def build(directory: Path, script: str) -> str:
    """Run a stand-in; what the demo printed about it."""
    out = io.StringIO()
    progress = Progress(Console(file=out), Console(file=out))
    ensure_lab_base(progress, directory, (sys.executable, "-c", script))
    return out.getvalue()


def test_a_build_is_told_with_the_time_it_took(tmp_path: Path) -> None:
    told = build(tmp_path / "mini" / "base", "print('hello')")
    assert told.startswith("Building the mini model …\n✓ Building the mini model  ")


def test_a_failed_build_says_why(tmp_path: Path) -> None:
    with pytest.raises(DemoFailed, match="no room left"):
        build(tmp_path / "base", "raise SystemExit('no room left')")


def test_the_real_command_exists() -> None:
    from align.__main__ import main

    with pytest.raises(SystemExit) as ended:
        main(["mini", "base", "--help"])
    assert ended.value.code == 0
