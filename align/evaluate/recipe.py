"""An evaluation's recipe: which models, on which benchmarks, judged by whom, from one TOML file.

Like a run's recipe it is strict: what does not exist, is missing or contradicts stops the program in one
line before any work. What the recipe brings along (tasks, policies, data sets) lies relative to its file;
what commands have written (bundles, base, attention.directory, ability.results, out) relative to the
working directory, like their `--out`.
The environment holds keys and nothing else.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from align.attention.whose import OWN
from align.evaluate.blanked_steps import THRESHOLD
from align.evaluate.contradictions import contradictions
from align.recipe import digest_of
from align.recipe_file import read_recipe
from align.recipe_tables import AdapterName
from align.table import Table

MINI = "mini"
PACKAGED = Path(__file__).parents[1] / "recipes"
PATH = "path"
"""The parameter of tasks that says where their data set lies."""
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
    rows: PositiveInt | None = None
    """Training rows, of an ablation by their number: where it stands on the curve over them."""
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
        if self.rows is not None and self.group != "ablation":
            raise ValueError('rows is for the curve of the ablations: give group = "ablation"')
        return self


class Benchmark(Table):
    """A task, and how much of it."""

    name: str = Field(pattern=r"^(.+\.py[:@])?\w+$")
    """A task of `align/evaluate/tasks`, or `FILE.py:task` with the file relative to the recipe's."""
    count: PositiveInt | None = None
    """The first so many samples in the task's order; all where it is left out."""
    parameters: dict[str, Parameter] = Field(default_factory=dict)
    """Of the task; `path` is relative to the recipe."""
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
    prompt_tokens: PositiveInt | None = None
    """What a local model's question and picture may take; None: 1,792 on the lab's base, 16,384 on others."""
    timeout_s: PositiveFloat = 600.0
    """For one attempt."""
    retries: int = Field(3, ge=0)
    """Further attempts after a transient error (408, 409, 429, 5xx, timeout, broken connection)."""

    def effective(self) -> dict[str, Any]:
        """What decides replies; what is left out decides nothing, and older replies know nothing of it."""
        return {key: value for key, value in super().effective().items() if value is not None}


class Faithful(Table):
    """Whether source tags tell the truth: local models' own steps, with the picture and with a blank one."""

    of: str
    """The benchmark whose replies are taken."""
    count: PositiveInt = 100
    """Replies of each model at most."""
    threshold: PositiveFloat = THRESHOLD
    """In nats per token: a step that loses less survives the blank picture."""
    models: tuple[str, ...] = Field((), strict=False)
    """None: all local ones."""


class Attention(Table):
    """How much local models look at the picture: measured, or taken from where it was measured."""

    directory: Path | None = Field(None, strict=False)
    """What `python -m align attention` wrote, shown as it is; nothing is measured then."""
    count: PositiveInt = 60
    """Questions, the first of the lab's."""
    text: str = OWN
    """Over whose replies: each model's `own`, or those of one model, by its name, for all."""
    models: tuple[str, ...] = Field((), strict=False)
    """Beside the base model; none: all local ones."""

    @model_validator(mode="after")
    def _one_origin(self) -> "Attention":
        if self.directory is not None and self.model_fields_set != {"directory"}:
            raise ValueError("directory was measured already: give nothing beside it, or leave it out")
        return self


class Ability(Table):
    """General ability that `python -m align ability` measured before, for the same tables."""

    results: Path = Field(strict=False)
    """A directory that it wrote, or one with such directories in it."""


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
    models: tuple[Evaluated, ...] = Field(min_length=1, strict=False)
    benchmarks: tuple[Benchmark, ...] = Field(min_length=1, strict=False)
    judges: tuple[Judge, ...] = Field((), strict=False)
    pace: Pace
    compare: Compare = Compare()
    faithful: Faithful | None = None
    attention: Attention | None = None
    ability: Ability | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "Evaluation":
        for fault in contradictions(self):
            raise ValueError(fault)
        return self

    def local(self, names: Sequence[str] = ()) -> list[Evaluated]:
        """Those of the named models, or of all, that the command serves itself."""
        return [one for one in self.models if one.base_url is None and (not names or one.name in names)]

    def asking(self, judged: bool) -> dict[str, Any]:
        """What decides replies and their marks, beside the model: limits and judges, less all pace."""
        judges = [judge.effective() for judge in self.judges] if judged else []
        return self.pace.effective() | {"judges": judges}

    @property
    def digest(self) -> str:
        """SHA-256 over the recipe."""
        return digest_of(self.model_dump(mode="json"))


def load_evaluation(path: Path) -> Evaluation:
    """Read a recipe, or the packaged one of that name; RecipeError names the file and the key."""
    path = _located(path)
    recipe = read_recipe(path, Evaluation)
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
    update: dict[str, Any] = {}
    if benchmark.file is not None:
        update["name"] = f"{(folder / benchmark.file).resolve()}:{benchmark.task}"
    if isinstance(data := benchmark.parameters.get(PATH), str):
        update["parameters"] = benchmark.parameters | {PATH: str((folder / data).resolve())}
    return benchmark.model_copy(update=update)
