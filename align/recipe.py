"""A recipe: everything that decides what a run makes, read from one TOML file into a frozen value.

A key that does not exist, is missing or has the wrong type stops the program before any work, in one
line that names it. The environment changes nothing but keys of endpoints, which the recipe names.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PlainValidator, model_validator

from align.recipe_file import read_recipe
from align.recipe_tables import (
    Budget,
    Bundle,
    Categorise,
    Derive,
    Describe,
    Endpoint,
    Evaluate,
    Expect,
    Gates,
    Mine,
    Pairs,
    Price,
    Role,
    Roles,
    Score,
    Select,
    Trajectories,
)
from align.records import POLICY_ID
from align.sources.catalogue import Source
from align.table import Table
from align.training_tables import Launch, Sft, Srpo

PACKAGED = Path(__file__).parent / "recipes"


def _chosen_policies(value: object) -> tuple[str, ...] | None:
    """None for all of them: one message here is clearer than one for each branch of a union."""
    if value == "all":
        return None
    ids = value if isinstance(value, list) else []
    if not ids or not all(isinstance(id_, str) and re.fullmatch(POLICY_ID, id_) for id_ in ids):
        raise ValueError('give "all" or a list of ids such as ["P01", "P19"]')
    return tuple(ids)


class Recipe(Table):
    """A whole recipe."""

    seed: int
    """Sent with every request to models that may sample; training has a seed of its own."""
    policies: Annotated[tuple[str, ...] | None, PlainValidator(_chosen_policies)]
    """`"all"` or a list of ids. Queries of other policies are left out; those near no policy stay."""
    policy_documents: Path | None = Field(None, strict=False)
    """Directory of your own policy documents, over the packaged ones; relative to the recipe's file."""
    sources: tuple[Source, ...] = Field(min_length=1, strict=False)
    endpoints: dict[str, Endpoint]
    roles: Roles
    prices: dict[str, Price] = Field(default_factory=dict)
    """By model."""
    budget: Budget = Field(default_factory=Budget)
    expect: Expect = Field(default_factory=Expect)
    describe: Describe | None = None
    categorise: Categorise
    trajectories: Trajectories
    gates: Gates
    score: Score
    select: Select
    mine: Mine | None = None
    derive: Derive | None = None
    pairs: Pairs | None = None
    """Left out, with `mine` and `derive`, where no preference pairs are wanted."""
    sft: Sft
    srpo: Srpo | None = None
    """Left out where stage 1 is all that is wanted."""
    launch: Launch | None = None
    """Left out where one process trains."""
    bundle: Bundle
    evaluate: Evaluate

    @model_validator(mode="after")
    def _consistent(self) -> "Recipe":
        for fault in _contradictions(self):
            raise ValueError(fault)
        return self

    @property
    def shows_pictures(self) -> bool:
        """Whether the teacher sees; otherwise it gets a description, as in the paper."""
        return self.roles.teacher.sees

    def endpoint(self, role: Role) -> Endpoint:
        """Where a role's model is."""
        return self.endpoints[role.endpoint]

    def part(self, *tables: str) -> dict[str, Any]:
        """What of some tables or keys decides rows, by name: `score`, `roles.teacher`, `seed`, `making`."""
        return {table: _effective(self, table) for table in tables}

    def making(self) -> dict[str, Any]:
        """All that decides stage 1's adapter: the recipe less pace, names and evaluation."""
        tables = ("categorise", "describe", "trajectories", "gates", "score", "select", "sft")
        roles = tuple(f"roles.{role}" for role in ("describer", "categoriser", "teacher", "scorer"))
        policies = self.model_dump(mode="json", include={"seed", "policies"})
        return policies | self.part("sources", *roles, *tables)

    def making_both(self) -> dict[str, Any]:
        """All that decides stage 2's adapter."""
        return self.making() | self.part("mine", "derive", "pairs", "roles.miners", "roles.adversary", "srpo")

    def takes(self, category: str | None) -> bool:
        """Whether queries of this category belong to the run."""
        return category is None or self.policies is None or category in self.policies


def _effective(recipe: Recipe, name: str) -> Any:
    if name == "making":
        return recipe.making_both() if recipe.srpo else recipe.making()
    found: Any = recipe
    for step in name.split("."):
        found = getattr(found, step)
    if isinstance(found, tuple):
        return [table.effective() if isinstance(table, Table) else table for table in found]
    return found.effective() if isinstance(found, Table) else found


def _contradictions(recipe: Recipe) -> Iterator[str]:
    """What each table allows and the whole does not."""
    roles, named = recipe.roles, recipe.roles.named()
    for name, role in named.items():
        if role.endpoint not in recipe.endpoints:
            known = ", ".join(recipe.endpoints) or "none"
            yield f"roles.{name}: there is no [endpoints.{role.endpoint}]; there is {known}"
    if len({role.model for role in roles.miners}) < len(roles.miners):
        yield "roles.miners: two have the same model"
    if any(not role.sees for role in (roles.describer, *roles.miners) if role):
        yield "the describer and the miners must see: give them sees = true"
    if (roles.describer is None) != (recipe.describe is None):
        yield "the table describe goes with roles.describer"
    if recipe.describe is None and any(not role.sees for role in named.values()):
        yield "without [describe] every role must see: give sees = true, or a describer"
    if roles.categoriser is None and not recipe.categorise.trust_source:
        yield "without roles.categoriser, categorise.trust_source must be true"
    yield from _contradictions_of_pairs(recipe)
    yield from _contradictions_of_stages(recipe)
    if recipe.budget.money is not None:
        for model in sorted({role.model for role in named.values()} - recipe.prices.keys()):
            yield (
                f"budget.money cannot be kept without a price for {model!r}: add "
                f"[prices.{json.dumps(model)}] with input and output per million tokens (0 where it costs "
                "nothing), or leave budget.money out"
            )


def _contradictions_of_pairs(recipe: Recipe) -> Iterator[str]:
    tables = {"mine": recipe.mine, "derive": recipe.derive, "pairs": recipe.pairs}
    missing = [name for name, table in tables.items() if table is None]
    if 0 < len(missing) < len(tables):
        yield f"pairs need the tables mine, derive and pairs: {', '.join(missing)} is missing"
    if not missing and (not recipe.roles.miners or recipe.roles.adversary is None):
        yield "pairs need roles.miners and roles.adversary"


def _contradictions_of_stages(recipe: Recipe) -> Iterator[str]:
    if recipe.srpo is not None and recipe.pairs is None:
        yield "srpo is trained on pairs: the tables mine, derive and pairs are missing"
    if (recipe.srpo is None) != (recipe.bundle.srpo is None):
        yield "bundle.srpo is the name of what [srpo] trains: give both or neither"
    processes = recipe.launch.processes if recipe.launch else 1
    for name, stage in (("sft", recipe.sft), ("srpo", recipe.srpo)):
        if stage is None:
            continue
        part, over = divmod(stage.batch_size, processes)
        if over:
            yield f"{name}.batch_size = {stage.batch_size} cannot be shared evenly by {processes} processes"
        elif stage.micro_batch_size and part % stage.micro_batch_size:
            yield f"{name}.micro_batch_size = {stage.micro_batch_size} does not divide a process's {part}"


def load_recipe(path: Path) -> Recipe:
    """Read a recipe, or the packaged one of that name; RecipeError names the file and the key."""
    path = _located(path)
    recipe = read_recipe(path, Recipe)
    return recipe.model_copy(update=_located_paths(recipe, path.parent))


def _located(path: Path) -> Path:
    """`recipes/mini.toml` and `mini.toml` name the packaged recipe wherever there is no such file."""
    packaged = PACKAGED / path.name
    is_short_name = path.parent.as_posix() in (".", "recipes")
    return packaged if is_short_name and not path.exists() and packaged.exists() else path


def _located_paths(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """Paths in a recipe are relative to it."""
    documents = recipe.policy_documents
    return {
        "policy_documents": (folder / documents).resolve() if documents else None,
        "sources": tuple(
            source.model_copy(update={"path": (folder / source.path).resolve()}) if source.path else source
            for source in recipe.sources
        ),
    }


def digest_of(content: object) -> str:
    """SHA-256 of a JSON value, 64 hex digits."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
