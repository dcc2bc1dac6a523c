"""Small recipes for tests: `small.toml` with a few lines changed."""

from pathlib import Path

from align.recipe import Recipe, load_recipe

SMALL = Path(__file__).with_name("small.toml")
DATA = (
    "queries", "describe", "categorise", "trajectories", "gates", "score", "select", "mine", "derive",
    "pairs",
)  # fmt: skip
"""The stages that make rows and pairs."""


def write_recipe(path: Path, changes: dict[str, str] | None = None) -> Path:
    """The small recipe with lines changed; a change that changes nothing is a mistake of the test."""
    text = SMALL.read_text()
    for old, new in (changes or {}).items():
        assert old in text, old
        text = text.replace(old, new, 1)
    path.write_text(text)
    return path


def lab_at(base_url: str, **pace: float) -> dict[str, str]:
    """Changes that ask a lab's oracle somewhere else in every role."""
    return {_pace_of("oracle = true", {}): _pace_of(f'base_url = "{base_url}"', pace)}


def teacher_at(base_url: str, **pace: float) -> dict[str, str]:
    """Changes that ask the teacher at another endpoint than everybody else."""
    table = _pace_of(f'[endpoints.other]\nbase_url = "{base_url}"', pace)
    return {'[roles.teacher]\nendpoint = "lab"': f'{table}\n\n[roles.teacher]\nendpoint = "other"'}


def _pace_of(place: str, pace: dict[str, float]) -> str:
    values = {"concurrency": 16, "timeout_s": 30.0, "retries": 6} | pace
    return "\n".join((place, *(f"{name} = {value}" for name, value in values.items())))


def recipe(directory: Path, changes: dict[str, str] | None = None) -> Recipe:
    return load_recipe(write_recipe(directory / "small.toml", changes))


def rows_of(directory: Path) -> dict[str, bytes]:
    """What every stage that makes rows has left."""
    return {stage: (directory / stage / "rows.jsonl").read_bytes() for stage in DATA}
