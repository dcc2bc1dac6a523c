"""Commands, paths and links in the documents exist, and nothing of one machine is in them."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "clients/python/README.md",
    *ROOT.glob("docs/*.md"),
]
README = (ROOT / "README.md").read_text()


def tracked() -> set[str]:
    """Every file that git knows, new ones that are not ignored included."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    return set(
        subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    )


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_make_target_named_exists(document: Path) -> None:
    named = re.findall(r"(?:`|\$ )(?:[A-Z_]+=\S+ )*make ([a-z]+)", document.read_text())
    assert set(named) <= make_targets()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text()):
        if not target.startswith("https://"):
            assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_module_that_is_run_exists(document: Path) -> None:
    for module in re.findall(r"python -m ([a-z][\w.]*)", document.read_text()):
        if module not in ("pytest", "venv"):
            path = ROOT / module.replace(".", "/")
            assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_run_in_the_environment_that_make_installs(document: Path) -> None:
    assert not re.findall(r"^\$ (?:[A-Z_]+=\S+ )*python.*", document.read_text(), re.MULTILINE)


def tree() -> list[str]:
    """Paths of the README's file tree; directories end with a slash."""
    block = README.split("## What is where", 1)[1].split("```text\n", 1)[1].split("```", 1)[0]
    paths, parent = [], ""
    for line in block.splitlines():
        names = re.findall(r"[\w./-]+", re.split(r" {3,}", line.strip(), maxsplit=1)[0])
        if not line.startswith(" "):
            parent = names[0]
            paths.append(parent)
        else:
            paths += [parent + name for name in names]
    return paths


def test_the_file_tree_is_that_of_the_repository() -> None:
    files = tracked()
    for path in tree():
        assert path in files or any(file.startswith(path) for file in files if path.endswith("/")), path
    tops = {f"{file.split('/')[0]}/" for file in files if "/" in file and not file.startswith(".")}
    assert tops == {f"{path.split('/')[0]}/" for path in tree()}


@pytest.mark.parametrize("package", ["policies", "align", "serve"])
def test_the_file_tree_leaves_no_folder_out(package: str) -> None:
    folders = {
        "/".join(file.split("/")[:2]) + "/" for file in tracked() if re.match(f"{package}/[^/]+/", file)
    }
    assert folders <= set(tree())


def test_stages_in_the_readme_are_those_of_the_code() -> None:
    from align.graph import STAGES

    section = README.split("## How a row travels", 1)[1].split("\n## ", 1)[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == [stage.name for stage in STAGES]


def test_every_dependency_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    client = tomllib.loads((ROOT / "clients/python/pyproject.toml").read_text())["project"]["dependencies"]
    extras = project["project"]["optional-dependencies"]
    common = [*project["project"]["dependencies"], *extras["serve"]]
    everything = [*common, *client, *extras["align"], *project["dependency-groups"]["dev"]]
    for lock, wanted in (
        ("gateway", common),
        ("align", [*project["project"]["dependencies"], *extras["align"]]),
        ("cpu", [*everything, *extras["engine-cpu"]]),
        ("cuda", [*everything, *extras["engine-cuda"]]),
    ):
        text = (ROOT / f"requirements/{lock}.txt").read_text()
        versions = dict(re.findall(r"^([a-z0-9.-]+)==([^ \\]+)", text, re.MULTILINE))
        for requirement in map(Requirement, wanted):
            name = re.sub(r"[-_.]+", "-", requirement.name).lower()
            assert name in versions, f"{name} is not in {lock}.txt: make lock"
            assert requirement.specifier.contains(versions[name], prereleases=True), f"{name}: make lock"


@pytest.mark.parametrize("lock", sorted(ROOT.glob("requirements/*.txt")), ids=lambda path: path.name)
def test_locks_hold_hashes_and_no_addresses(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    assert "--index" not in text
    assert "--find-links" not in text
    if lock.name != "overrides.txt":
        pins = re.findall(r"^[a-z0-9.-]+==.*$(?:\n {4}--hash=sha256:[0-9a-f]{64}.*)", text, re.MULTILINE)
        assert len(pins) == len(re.findall(r"^[a-z0-9.-]+==", text, re.MULTILINE))


def test_nothing_of_one_machine_is_in_the_tree() -> None:
    machine = re.compile(r"(?<![\w.])/(?:root|work|home/[a-z]+)/[\w.]+/")
    for name in tracked():
        path = ROOT / name
        # The image of vLLM keeps its models below its own /root.
        if (
            path.suffix in (".py", ".md", ".toml", ".txt", ".sh", ".in", "")
            and path.is_file()
            and path.stat().st_size < 1 << 20
        ):
            assert not machine.search(path.read_text(errors="replace")), name
