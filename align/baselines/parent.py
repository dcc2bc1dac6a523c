"""The finished run that variants are made from: its rows and pairs, D_HQ, and what is true of each query."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from align.errors import RecipeError
from align.graph import stages_of
from align.manifest import StageManifest, file_digest, read_manifest
from align.mini.given import digest
from align.mini.oracle import SOURCE
from align.mini.world import Situation, draw_situation
from align.recipe import Recipe, digest_of
from align.records import Pair, Query, SftRow
from align.sources.mini import png
from align.stages import pairs, queries, select, sft, srpo
from align.stages.base_model import base_digest
from align.stages.select import Eligible
from align.stages.trainable import check_training
from align.stages.training import adapter_of
from align.stages.workspace import JOURNEY, ROWS_FILE, Workspace
from policies.bundle import bundle_digest
from policies.catalog import load_catalog


@dataclass(frozen=True)
class Parent:
    """A run, complete up to its last training."""

    workspace: Workspace
    manifests: dict[str, StageManifest]
    """By stage."""
    base_digest: str
    _situations: dict[str, Situation] = field(default_factory=dict)

    @property
    def recipe(self) -> Recipe:
        return self.workspace.recipe

    @cached_property
    def selected(self) -> list[SftRow]:
        """D_SFT."""
        return list(self.workspace.rows(select.STAGE, SftRow))

    @cached_property
    def pairs(self) -> list[Pair]:
        """D_SRPO; none where the run has no stage 2."""
        return list(self.workspace.rows(pairs.STAGE, Pair)) if pairs.STAGE in self.manifests else []

    @cached_property
    def candidates(self) -> list[Eligible]:
        """D_HQ, one reply for each query."""
        return select.first_of_each(select.eligible(self.workspace))

    @cached_property
    def _queries(self) -> dict[str, Query]:
        return {query.id: query for query in self.workspace.rows(queries.STAGE, Query)}

    def situation(self, query_id: str) -> Situation:
        """A query with its truth; RecipeError where the lab does not know it, or no longer as it was."""
        if query_id not in self._situations:
            self._situations[query_id] = _situation(self._queries[query_id])
        return self._situations[query_id]


def open_parent(directory: Path, recipe: Recipe) -> Parent:
    """A run to make variants of; RecipeError where it is unfinished, or another recipe's.

    Rows are read when they are asked for.
    """
    workspace = Workspace(recipe, load_catalog(recipe.policy_documents), directory)
    if recipe.bundle.merged:
        raise RecipeError("[bundle] merged = true: variants are bundles only; the lab's base loads those")
    check_training(workspace)
    trained = srpo.STAGE if recipe.srpo else sft.STAGE
    manifests = {
        stage.name: _manifest(workspace, stage.name, stage.part)
        for stage in stages_of(recipe)
        if JOURNEY.index(stage.name) <= JOURNEY.index(trained)
    }
    if bundle_digest(adapter_of(workspace, sft.STAGE)) != manifests[sft.STAGE].result_digest:
        raise RecipeError(
            f"{directory}: stage 1's adapter was changed: make it again with --from {sft.STAGE}"
        )
    base = base_digest(workspace)
    if manifests[sft.STAGE].origin.inputs["base model"] != base:
        raise RecipeError(f"{directory} was trained on another state of the base model: run it again")
    return Parent(workspace, manifests, base)


def _manifest(workspace: Workspace, stage: str, part: tuple[str, ...]) -> StageManifest:
    manifest = read_manifest(workspace.folder(stage))
    if manifest is None:
        raise RecipeError(f"{workspace.directory}: {stage} is not complete: finish the run first")
    if manifest.origin.recipe_digest != digest_of(workspace.recipe.part(*part)):
        raise RecipeError(
            f"{workspace.directory} was not made by this recipe, they differ in {stage}'s part: name the "
            "run's own with --recipe"
        )
    rows = workspace.folder(stage) / ROWS_FILE
    if rows.exists() and file_digest(rows) != manifest.result_digest:
        raise RecipeError(f"{rows} was changed after it was written: make it again with --from {stage}")
    return manifest


def _situation(query: Query) -> Situation:
    if query.source != SOURCE:
        raise RecipeError(f"row {query.id}: its truth is not known, baselines are written for the lab's rows")
    situation = draw_situation(query.meta["seed"])
    same_words = situation.instruction == query.instruction
    if not (same_words and digest(png(situation.scene)) == query.image_sha256):
        raise RecipeError(f"row {query.id}: the lab's world has changed since the run was made: run it again")
    return situation
