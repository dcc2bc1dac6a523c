"""What tests of `python -m align evaluate` share: a place of their own, and a recipe of local models."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from align.evaluate.recipe import Evaluation, load_evaluation
from align.evaluate.results import Results

LAMPS = Path(__file__).with_name("lamps.py")
PACE = "[pace]\nconcurrency = 2\nmax_tokens = 8\nretries = 0\n"
HARNESS_WARNS = pytest.mark.filterwarnings(
    # Inspect's own, of tenacity and of streams that it leaves to the garbage collector.
    "ignore:The 'initial' parameter is deprecated:DeprecationWarning",
    "ignore:Unclosed <MemoryObject:ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


@contextmanager
def place_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Where the harness keeps its traces."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data-home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache-home"))
    monkeypatch.chdir(tmp_path)
    yield
    if list(tmp_path.glob("*/logs")):
        gc.collect()  # the clients that Inspect leaves open, while that is still forgiven


def local_recipe(base: Path, keys: str, *bundles: Path, lamps: int = 4, more: str = "") -> Evaluation:
    """The base model, called `alone`, and bundles on it, asked about lamps; its file is `inside.toml`."""
    models = "".join(f'[[models]]\nname = "{path.name}"\nbundle = "{path}"\n' for path in bundles)
    path = Path("inside.toml")
    path.write_text(
        f'base = "{base}"\n{more}\n[[models]]\nname = "alone"\n{models}'
        f'[[benchmarks]]\nname = "{LAMPS}:lamps"\ncount = {lamps}\n{PACE}{keys}'
    )
    return load_evaluation(path)


def results(tmp_path: Path) -> Results:
    """What the evaluation wrote into `out`."""
    return Results.model_validate_json((tmp_path / "out" / "results.json").read_bytes())
