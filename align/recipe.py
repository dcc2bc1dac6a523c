"""A recipe: everything that decides what a run makes, read from one TOML file into a frozen value.

A key that does not exist, is missing or has the wrong type stops the program before any work, in one
line that names it. The environment changes nothing but keys of endpoints, which the recipe names.
"""

import difflib
import hashlib
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from align.records import POLICY_ID
from policies.formats import FORMATS

Share = Annotated[float, Field(ge=0, le=1)]


class RecipeError(Exception):
    """Something the user can fix; shown as one line, exit status 2, before any work."""


class Part(BaseModel):
    """A table of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    without_effect_on_rows: ClassVar[frozenset[str]] = frozenset()
    """Fields that may change between two attempts at a stage: pace, place and patience."""

    def effective(self) -> dict[str, Any]:
        """What decides the stage's rows."""
        return self.model_dump(mode="json", exclude=set(self.without_effect_on_rows))


class Queries(Part):
    """Which queries the journey begins with."""

    source: Literal["mini"]
    split: str = Field(pattern=r"^[a-z]+$")
    """Splits of the lab's world share no seed; train on one and evaluate on another."""
    count: PositiveInt
    """Situations drawn; those of policies that the recipe leaves out are not taken."""


class Endpoint(Part):
    """Where a teacher is and how hard it may be asked."""

    base_url: str | None = Field(None, pattern=r"^https?://")
    """Up to and including the version, such as http://127.0.0.1:8000/v1; none with the oracle."""
    api_key_env: str | None = None
    """NAME of the environment variable with the key; never the key."""
    concurrency: PositiveInt
    """Requests in flight at most."""
    timeout_s: PositiveFloat
    """For one attempt, from connecting to the last byte."""
    retries: int = Field(ge=0)
    """Further attempts after a transient error (429, 5xx, timeout, broken reply)."""


class Trajectories(Part):
    """Who writes the trajectories, and how."""

    without_effect_on_rows: ClassVar[frozenset[str]] = frozenset({"endpoint", "max_dropped_share"})

    teacher: Literal["oracle", "endpoint"]
    """`oracle`: the lab's scripted teacher, in this process; `endpoint`: an OpenAI-compatible server."""
    model: str = Field(min_length=1)
    temperature: float = Field(ge=0)
    max_tokens: PositiveInt
    reasoning_format: str
    """The student's; `policies.formats` has the names."""
    policy_tokens: PositiveInt = 16_000
    """What the policies may take of the teacher's context; beyond that they come in a shorter form."""
    max_dropped_share: Share
    """The stage gives up when more than this share of the queries gets no reply."""
    endpoint: Endpoint

    @model_validator(mode="after")
    def _consistent(self) -> "Trajectories":
        if self.reasoning_format not in FORMATS:
            raise ValueError(
                f"reasoning_format {self.reasoning_format!r} is unknown: one of {', '.join(FORMATS)}"
            )
        if (self.teacher == "endpoint") != (self.endpoint.base_url is not None):
            raise ValueError("endpoint.base_url goes with teacher = 'endpoint', and only with it")
        return self


class Gates(Part):
    """What a trajectory must be to become a training row."""

    without_effect_on_rows: ClassVar[frozenset[str]] = frozenset({"max_dropped_share"})

    max_chars: PositiveInt
    """Of the completion."""
    max_completion_tokens: PositiveInt
    """As the teacher's server counted; not checked where it did not say."""
    require_visual_step: bool
    """At least one step must be tagged [visual] or [visual+textual]."""
    require_citation_of_category: bool
    """A refusal or safe completion must cite a clause of the row's category."""
    max_dropped_share: Share


class Sft(Part):
    """Stage 1 of PST: LoRA by supervised fine-tuning (`align/train/sft.py`)."""

    base: str = Field(min_length=1)
    """`mini` for the lab's base model, or the directory of a checkpoint."""
    seed: int
    rank: PositiveInt
    alpha: PositiveInt
    dropout: Share
    target_modules: str
    """A regular expression over module names; language layers only."""
    learning_rate: PositiveFloat
    epochs: PositiveFloat
    batch_size: PositiveInt
    warmup_share: Share
    precision: Literal["bf16", "float32"]


class Bundle(Part):
    """The adapter's name towards the gateway."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")


class Evaluate(Part):
    """What the adapter is measured on before it is published."""

    without_effect_on_rows: ClassVar[frozenset[str]] = frozenset({"base_url", "concurrency"})

    split: str = Field(pattern=r"^[a-z]+$")
    count: PositiveInt
    max_tokens: PositiveInt
    concurrency: PositiveInt
    base_url: str | None = Field(None, pattern=r"^https?://")
    """A gateway that serves the bundle under its name; without it the stage starts one of its own."""
    compare_with: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """The base model's name at the gateway, to be measured beside the adapter; none: the adapter alone."""


def _chosen_policies(value: object) -> tuple[str, ...] | None:
    """None for all of them: one message here is clearer than one for each branch of a union."""
    if value == "all":
        return None
    ids = value if isinstance(value, list) else []
    if not ids or not all(isinstance(id_, str) and re.fullmatch(POLICY_ID, id_) for id_ in ids):
        raise ValueError('give "all" or a list of ids such as ["P01", "P19"]')
    return tuple(ids)


class Recipe(Part):
    """A whole recipe."""

    seed: int
    """Sent to the teacher, which may sample; training has a seed of its own."""
    policies: Annotated[tuple[str, ...] | None, PlainValidator(_chosen_policies)]
    """`"all"` or a list of ids. Queries of other policies are left out; those near no policy stay."""
    policy_documents: Path | None = Field(None, strict=False)
    """Directory of your own policy documents, over the packaged ones; relative to the recipe's file."""
    queries: Queries
    trajectories: Trajectories
    gates: Gates
    sft: Sft
    bundle: Bundle
    evaluate: Evaluate

    def making(self) -> dict[str, Any]:
        """All that decides an adapter: the recipe less pace, names and evaluation."""
        parts = (self.queries, self.trajectories, self.gates, self.sft)
        policies = self.model_dump(mode="json", include={"seed", "policies"})
        return policies | {type(part).__name__.lower(): part.effective() for part in parts}

    def takes(self, category: str | None) -> bool:
        """Whether queries of this category belong to the run."""
        return category is None or self.policies is None or category in self.policies


def load_recipe(path: Path) -> Recipe:
    """Read a recipe; RecipeError names the file and the key."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: is not TOML: {error}") from None
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        raise RecipeError(f"{path}: {'; '.join(dict.fromkeys(map(_fault, faults)))}") from None
    if recipe.policy_documents is None:
        return recipe
    return recipe.model_copy(update={"policy_documents": (path.parent / recipe.policy_documents).resolve()})


def digest_of(content: object) -> str:
    """SHA-256 of a JSON value, 64 hex digits."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _fault(fault: ErrorDetails) -> str:
    where = [str(part) for part in fault["loc"]]
    key = ".".join(where)
    match fault["type"]:
        case "extra_forbidden":
            return f"unknown key {key!r}{_suggestion(where)}"
        case "missing":
            return f"key {key!r} is missing"
    return f"key {key!r}: {fault['msg'].removeprefix('Value error, ')}"


def _suggestion(where: list[str]) -> str:
    *tables, key = where
    near = difflib.get_close_matches(key, list(_keys(tables)), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _keys(tables: list[str]) -> Iterator[str]:
    part: type[BaseModel] = Recipe
    for table in tables:
        annotation = part.model_fields[table].annotation if table in part.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return
        part = annotation
    yield from part.model_fields
