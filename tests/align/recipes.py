"""Small recipes for tests: `small.toml` with a few lines changed."""

from pathlib import Path

from align.recipe import Recipe, load_recipe

SMALL = Path(__file__).with_name("small.toml")


def write_recipe(path: Path, changes: dict[str, str] | None = None) -> Path:
    """The small recipe with lines changed; a change that changes nothing is a mistake of the test."""
    text = SMALL.read_text()
    for old, new in (changes or {}).items():
        assert old in text, old
        text = text.replace(old, new, 1)
    path.write_text(text)
    return path


def asking(base_url: str, **pace: float) -> dict[str, str]:
    """Changes that point the recipe at an endpoint."""
    values = {"concurrency": 4, "timeout_s": 5.0, "retries": 2} | pace
    lines = [f'base_url = "{base_url}"', *(f"{name} = {value}" for name, value in values.items())]
    return {
        'teacher = "oracle"': 'teacher = "endpoint"',
        "concurrency = 16\ntimeout_s = 30.0\nretries = 5\n": "\n".join(lines) + "\n",
    }


def recipe(directory: Path, changes: dict[str, str] | None = None) -> Recipe:
    return load_recipe(write_recipe(directory / "small.toml", changes))
