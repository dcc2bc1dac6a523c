"""An evaluation's recipe: which models, on which benchmarks, judged by whom, from one TOML file.

Like a run's recipe it is strict: what does not exist, is missing or contradicts stops the program in one
line before any work. What the recipe brings along (tasks, policies) lies relative to its file; what commands
have written (bundles, base, attention, out) relative to the working directory, like their `--out`.
The environment holds keys and nothing else.
"""

import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, ValidationError, model_validator
from pydantic_core import ErrorDetails

from align.errors import RecipeError
from align.recipe import digest_of
from align.recipe_tables import AdapterName
from align.table import Table

MINI = "mini"
PACKAGED = Path(__file__).parents[1] / "recipes"
Url = Annotated[str, Field(pattern=r"^https?://")]
Parameter = str | int | float | bool | list[str]


class Place(Table):
    """A model behind somebody's OpenAI-compatible endpoint."""

    base_url: Url | None = None
    """Up to and including the version, such as http://127.0.0.1:8000/v1."""
    model: str | None = Field(None, min_length=1)
    """What the endpoint calls it."""
    api_key_env: str | None = Field(None, min_length=1)
    """NAME of the environment variable with the key; never the key."""
    extra_body: dict[str, Parameter] = Field(default_factory=dict)
    """Further fields of every request, such as `top_p`."""


class Evaluated(Place):
    """One of the compared models: a bundle, the base model alone, or an endpoint's."""

    name: AdapterName
    label: str | None = Field(None, min_length=1)
    """What readers see; the name where it is left out."""
    group: Literal["main", "baseline", "ablation"] = "main"
    """Replies of the last `main` model are those that the report shows."""
    bundle: Path | None = Field(None, strict=False)
    """Directory of an adapter on the recipe's base; without it and `base_url`, the base model itself."""
    count: PositiveInt | None = None
    """Samples of each benchmark at most."""
    publish: bool = False
    """Write what was measured into the report card in the bundle's manifest."""

    @model_validator(mode="after")
    def _one_place(self) -> "Evaluated":
        if self.bundle is not None and self.base_url is not None:
            raise ValueError("give either bundle or base_url")
        if (self.base_url is None) != (self.model is None):
            raise ValueError("base_url and model go together")
        if self.base_url is None and (self.api_key_env or self.extra_body):
            raise ValueError("api_key_env and extra_body are for an endpoint: give base_url and model")
        if self.publish and self.bundle is None:
            raise ValueError("publish = true needs a bundle, whose report card it is")
        return self


class Benchmark(Table):
    """A task, and how much of it."""

    name: str = Field(pattern=r"^(.+\.py[:@])?\w+$")
    """A task of `align/evaluate/tasks`, or `FILE.py:task` with the file relative to the recipe's."""
    count: PositiveInt | None = None
    """The first so many samples in the task's order; all where it is left out."""
    parameters: dict[str, Parameter] = Field(default_factory=dict)
    """Of the task."""
    of: str | None = None
    """Another benchmark here, whose replies are judged anew by this task (`failure_modes`, `win_rate`)."""
    against: str | None = None
    """With `of`: the model whose replies are the second ones of each pair."""

    @model_validator(mode="after")
    def _whole(self) -> "Benchmark":
        if self.against is not None and self.of is None:
            raise ValueError("against goes with of, the benchmark whose replies are compared")
        return self

    @property
    def task(self) -> str:
        """The task's name without its file."""
        return re.split("[:@]", self.name)[-1]

    @property
    def file(self) -> Path | None:
        """Where the task is, if it is not of `align/evaluate/tasks`."""
        return Path(self.name[: -len(self.task) - 1]) if self.task != self.name else None

    @property
    def key(self) -> str:
        """What it is called in results."""
        of = f" of {self.of}" if self.of else ""
        return f"{self.task}{of}" + (f" against {self.against}" if self.against else "")


class Judge(Place):
    """A model that judges, in a role that tasks ask for; several of one role are a panel."""

    role: str = Field("grader", min_length=1)
    base_url: Url
    model: str = Field(min_length=1)
    max_tokens: PositiveInt = 1024


class Pace(Table):
    """How the models are asked."""

    without_effect_on_rows = frozenset({"concurrency", "timeout_s", "retries"})

    concurrency: PositiveInt
    """Requests in flight at most, to each model."""
    max_tokens: PositiveInt
    """Of a reply, its reasoning included."""
    timeout_s: PositiveFloat = 600.0
    """For one attempt."""
    retries: int = Field(3, ge=0)
    """Further attempts after a transient error (408, 409, 429, 5xx, timeout, broken connection)."""


class Compare(Table):
    """Which models are compared on the same samples."""

    pairs: tuple[Annotated[tuple[str, str], Field(strict=False)], ...] = Field(default=(), strict=False)
    """First and second: the report tells second minus first."""


class Evaluation(Table):
    """A whole recipe."""

    title: str = Field("Evaluation", min_length=1)
    base: str | None = Field(None, min_length=1)
    """`mini` for the lab's, or a checkpoint's directory; only endpoints can do without."""
    merged: bool = False
    """Serve every adapter merged into the base's weights, one after the other: faster on a CPU."""
    policy_documents: Path | None = Field(None, strict=False)
    """Directory of your own policy documents, over the packaged ones."""
    out: Path | None = Field(None, strict=False)
    seed: int = 0
    """Of the bootstrap; models are asked greedily."""
    attention: Path | None = Field(None, strict=False)
    """Where `python -m align attention` wrote, to be shown in the report."""
    models: tuple[Evaluated, ...] = Field(min_length=1, strict=False)
    benchmarks: tuple[Benchmark, ...] = Field(min_length=1, strict=False)
    judges: tuple[Judge, ...] = Field((), strict=False)
    pace: Pace
    compare: Compare = Compare()

    @model_validator(mode="after")
    def _consistent(self) -> "Evaluation":
        for fault in _contradictions(self):
            raise ValueError(fault)
        return self

    def asking(self, judged: bool) -> dict[str, Any]:
        """What decides replies and their marks, beside the model: limits and judges, less all pace."""
        judges = [judge.effective() for judge in self.judges] if judged else []
        return self.pace.effective() | {"judges": judges}

    @property
    def digest(self) -> str:
        """SHA-256 over the recipe."""
        return digest_of(self.model_dump(mode="json"))


def _contradictions(recipe: Evaluation) -> Iterator[str]:
    names = [model.name for model in recipe.models]
    yield from (f"models: two are called {name!r}" for name in _twice(names))
    local = [model.name for model in recipe.models if model.base_url is None]
    if local and recipe.base is None:
        yield f"models.{local[0]} needs the base model: give base, or base_url and model"
    yield from _contradictions_of_benchmarks(recipe, names)
    for first, second in recipe.compare.pairs:
        yield from (f"compare.pairs: {unknown('model', n, names)}" for n in (first, second) if n not in names)
        if first == second:
            yield f"compare.pairs: {first!r} cannot be compared with itself"


def _contradictions_of_benchmarks(recipe: Evaluation, models: Sequence[str]) -> Iterator[str]:
    asked = [benchmark.key for benchmark in recipe.benchmarks if benchmark.of is None]
    keys = [benchmark.key for benchmark in recipe.benchmarks]
    yield from (f"benchmarks: {key!r} is there twice" for key in _twice(keys))
    for benchmark in recipe.benchmarks:
        if benchmark.of is not None and benchmark.of not in asked:
            yield f"benchmarks.{benchmark.task}.of: {unknown('benchmark', benchmark.of, asked)}"
        if benchmark.against is not None and benchmark.against not in models:
            yield f"benchmarks.{benchmark.task}.against: {unknown('model', benchmark.against, models)}"


def _twice(names: Sequence[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """What to say to a name that does not exist."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    meant = f" (did you mean {near[0]!r}?)" if near else ""
    return f"there is no {kind} {name!r}{meant}; there is {', '.join(known) or 'none'}"


def load_evaluation(path: Path) -> Evaluation:
    """Read a recipe, or the packaged one of that name; RecipeError names the file and the key."""
    path = _located(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: is not TOML: {error}") from None
    try:
        recipe = Evaluation.model_validate(content)
    except ValidationError as error:
        faults = map(_fault, error.errors(include_url=False, include_input=False))
        raise RecipeError(f"{path}: {'; '.join(dict.fromkeys(faults))}") from None
    return recipe.model_copy(update=_located_paths(recipe, path.parent))


def _located(path: Path) -> Path:
    """`lab/mini.toml` and `recipes/lab/mini.toml` name the packaged recipe wherever there is no such file."""
    if path.exists() or path.is_absolute():
        return path
    packaged = PACKAGED / path.as_posix().removeprefix("recipes/")
    return packaged if packaged.exists() else path


def _located_paths(recipe: Evaluation, folder: Path) -> dict[str, Any]:
    documents = recipe.policy_documents
    return {
        "policy_documents": (folder / documents).resolve() if documents else None,
        "benchmarks": tuple(_beside(folder, benchmark) for benchmark in recipe.benchmarks),
    }


def _beside(folder: Path, benchmark: Benchmark) -> Benchmark:
    if benchmark.file is None:
        return benchmark
    return benchmark.model_copy(update={"name": f"{(folder / benchmark.file).resolve()}:{benchmark.task}"})


_TABLES: dict[str, type[Table]] = {
    "models": Evaluated,
    "benchmarks": Benchmark,
    "judges": Judge,
    "pace": Pace,
    "compare": Compare,
}


def _fault(fault: ErrorDetails) -> str:
    where = fault["loc"]
    key = ".".join(map(str, where))
    if fault["type"] == "extra_forbidden":
        table = _TABLES.get(str(where[0]), Evaluation) if len(where) > 1 else Evaluation
        near = difflib.get_close_matches(str(where[-1]), table.model_fields, n=1)
        return f"unknown key {key!r}" + (f" (did you mean {near[0]!r}?)" if near else "")
    if fault["type"] == "missing":
        return f"key {key!r} is missing"
    said = fault["msg"].removeprefix("Value error, ")
    return f"key {key!r}: {said}" if key else said
