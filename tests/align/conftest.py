"""Async tests run on asyncio, the loop that the pipeline itself runs on; packages are listed once."""

import functools
import importlib.metadata
from collections.abc import Iterator

import pytest

# Inspect AI reads every installed package's files at each task. It binds the name when it is imported,
# and test files import it: a fixture would be too late, or would import it for tests that need none.
importlib.metadata.packages_distributions = functools.cache(importlib.metadata.packages_distributions)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Products of tiny models take longer on two threads, much longer where cores are shared."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
