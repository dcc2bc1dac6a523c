"""What tests of the real path share: the lab's base model and its PST adapter."""

from pathlib import Path

import pytest
from hypothesis import settings

REPOSITORY = Path(__file__).parents[1]

# How long an example takes says more about the machine's other work than about the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


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
