"""requirements/install.sh with a scripted Python: which environments it keeps, remakes, or leaves alone."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Stands for Python VERSION: `-m venv` writes an environment whose python is this script again.
# NO_NUMA: as on a machine without libnuma.
PYTHON = """#!/bin/bash
here=$(dirname "$0")
case "$*" in
-c*libnuma*) [ -z "${NO_NUMA:-}" ] ;;
-c*) echo VERSION ;;
"-m venv --clear "*)
    rm -rf "$4" && mkdir -p "$4/bin" && touch "$4/pyvenv.cfg" || exit
    [ -z "${INTERRUPTED:-}" ] || { cp "$0" "$4/bin/python"; exit 1; }
    cp "$0" "$4/bin/python" && cp /bin/true "$4/bin/uv" && touch "$4/bin/pip" ;;
"-m pip "*) [ -e "$here/pip" ] ;;
*) exit 64 ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A directory with the script and what it reads."""
    for name in ("install.sh", "uv.txt", "cpu.txt", "cuda.txt"):
        (tmp_path / "requirements").mkdir(exist_ok=True)
        shutil.copy(ROOT / "requirements" / name, tmp_path / "requirements")
    (tmp_path / "clients" / "python").mkdir(parents=True)
    (tmp_path / "clients" / "python" / "pyproject.toml").touch()
    return tmp_path


def install(
    checkout: Path, version: str = "3.11", lock: str = "cpu", **environment: str
) -> subprocess.CompletedProcess[str]:
    python = checkout / f"python{version}"
    python.write_text(PYTHON.replace("VERSION", version))
    python.chmod(0o755)
    for program in ("cc", "nvidia-smi"):
        (checkout / program).write_text("#!/bin/sh\n")
        (checkout / program).chmod(0o755)
    return subprocess.run(
        ["requirements/install.sh", ".venv", lock, str(python)],
        cwd=checkout,
        env={**os.environ, **environment, "PATH": f"{checkout}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_environment_is_made_once(checkout: Path) -> None:
    assert "installing" in install(checkout).stdout
    (checkout / ".venv" / "mine").touch()
    again = install(checkout)
    assert (again.returncode, again.stdout) == (0, "")
    assert (checkout / ".venv" / "mine").exists()


def test_an_environment_that_only_lacks_packages_is_kept(checkout: Path) -> None:
    install(checkout)
    (checkout / ".venv" / "mine").touch()
    (checkout / "requirements" / "cpu.txt").write_text("changed")
    done = install(checkout)
    assert done.returncode == 0, done.stderr
    assert (checkout / ".venv" / "mine").exists()


def test_an_interrupted_environment_is_made_anew(checkout: Path) -> None:
    failed = install(checkout, INTERRUPTED="1")
    assert (failed.returncode, "install its venv module" in failed.stderr) == (2, True)
    assert (checkout / ".venv" / "bin" / "python").exists()
    done = install(checkout)
    assert done.returncode == 0, done.stderr
    assert (checkout / ".venv" / "bin" / "uv").exists()


def test_an_environment_of_another_python_is_made_anew(checkout: Path) -> None:
    install(checkout, "3.12")
    (checkout / ".venv" / "of-3.12").touch()
    done = install(checkout, "3.11")
    assert done.returncode == 0, done.stderr
    assert not (checkout / ".venv" / "of-3.12").exists()


def test_the_engine_on_cpu_is_not_installed_without_libnuma_and_it_is_said_how_to_get_it(
    checkout: Path,
) -> None:
    refused = install(checkout, NO_NUMA="1")
    assert (refused.returncode, "install libnuma1" in refused.stderr) == (2, True)
    assert not (checkout / ".venv").exists()


def test_the_engine_on_cuda_needs_no_libnuma(checkout: Path) -> None:
    done = install(checkout, lock="cuda", NO_NUMA="1")
    assert done.returncode == 0, done.stderr


def test_what_debian_needs_is_told_alike_wherever_it_is_told() -> None:
    told = {
        re.search("`apt install ([^`]+)`", (ROOT / name).read_text())
        for name in ("README.md", "CONTRIBUTING.md")
    }
    assert {match and match[1] for match in told} == {"python3.11-venv make gcc libc6-dev libnuma1"}


def test_a_directory_that_is_no_environment_is_left_alone(checkout: Path) -> None:
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / "thesis.tex").touch()
    refused = install(checkout)
    assert refused.returncode == 2
    assert "is no virtual environment" in refused.stderr
    assert (checkout / ".venv" / "thesis.tex").exists()
