"""What tests of the real path share: the lab's base model and its PST adapter; and who runs which file."""

import gc
import os
import ssl
from collections.abc import Generator, Iterator
from functools import cache
from pathlib import Path

import httpcore2
import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

REPOSITORY = Path(__file__).parents[1]

# How long an example takes says more about the machine's other work than about the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

if "PYTEST_XDIST_WORKER" in os.environ:
    # Two processes that each compute with both cores wait for one another more than they compute.
    os.environ["OMP_NUM_THREADS"] = "1"


class _FileByFile(LoadFileScheduling):  # type: ignore[misc]  # xdist carries no types
    """A free worker takes the next file; those that need the real engine go to one, which starts it once."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::")[0]
        return "engine" if _needs_engine(REPOSITORY / file) else file


@cache
def _needs_engine(file: Path) -> bool:
    return "pytest.mark.engine" in file.read_text()


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling:
    return _FileByFile(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported and collected stays to the end: the garbage collector looks at it once, not always."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The engine's tests first: together they take longest, and nothing else can be split off from them."""
    items.sort(key=lambda item: not _needs_engine(item.path))


@pytest.fixture(scope="session", autouse=True)
def _certificates_are_read_once() -> Iterator[None]:
    """Each of hundreds of clients would read them anew, for 44 ms; no test has certificates of its own."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((ssl, "create_default_context"), (httpcore2, "default_ssl_context")):
            patch.setattr(module, name, cache(getattr(module, name)))
        yield


@pytest.fixture(scope="session")
def mini_base() -> Path:
    """The lab's base model, built where `make demo` builds it; an up-to-date one is used again."""
    from align.mini.base import save_base
    from align.mini.trained import BASE_ADAPTER, TOWER

    directory = REPOSITORY / ".cache" / "mini" / "base"
    save_base(directory, TOWER, BASE_ADAPTER)
    return directory


@pytest.fixture(scope="session")
def mini_bundle() -> Path:
    """The PST adapter that the repository keeps."""
    from align.mini.trained import PST_BUNDLE

    return PST_BUNDLE
