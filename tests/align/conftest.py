"""Async tests run on asyncio, the loop that the pipeline itself runs on."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
