"""A variant before anything of it is written: its data, its settings, and what its adapter is made of."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from align.baselines.budget import same_steps, steps
from align.baselines.data import Data, data_of, digest_of_rows
from align.baselines.parent import Parent
from align.baselines.variants import Variant
from align.errors import RecipeError
from align.manifest import ORIGIN_FILE, Origin, read_manifest
from align.recipe import digest_of
from align.stages import pairs, select, sft, srpo
from align.stages.workspace import Workspace
from align.training_tables import Sft, Srpo


@dataclass(frozen=True)
class Plan:
    """What is to be made in a variant's directory."""

    variant: Variant
    parent: Parent
    directory: Path
    data: Data
    sft: Sft
    srpo: Srpo | None
    """None where stage 1 is all."""

    @property
    def workspace(self) -> Workspace:
        return replace(self.parent.workspace, directory=self.directory)

    @cached_property
    def digests(self) -> dict[str, str]:
        """Of rows and pairs, as files."""
        found = {select.STAGE: digest_of_rows(self.data.rows)}
        return found | ({pairs.STAGE: digest_of_rows(self.data.pairs)} if self.srpo else {})

    @property
    def takes_stage_1(self) -> bool:
        """Whether stage 1 would be the run's own once more, and its adapter is taken instead."""
        own = self.parent.manifests[select.STAGE].result_digest
        return self.digests[select.STAGE] == own and self.sft == self.parent.recipe.sft

    @property
    def origin(self) -> Origin:
        """All that decides the adapter."""
        tables = {"sft": self.sft.effective()} | ({"srpo": self.srpo.effective()} if self.srpo else {})
        recipe = self.parent.recipe
        return Origin(
            stage=self.variant.name,
            recipe_digest=digest_of(tables),
            inputs=self.digests
            | {
                "parent recipe": digest_of(recipe.making_both() if self.srpo else recipe.making()),
                "policies": self.parent.workspace.catalog.digest,
                "base model": self.parent.base_digest,
            },
        )

    @property
    def begun(self) -> bool:
        """Whether an earlier attempt has left something."""
        return (self.directory / ORIGIN_FILE).is_file()

    @property
    def done(self) -> bool:
        """As far as its manifest tells, which `make` compares with what it would be made of now."""
        return read_manifest(self.directory) is not None

    @property
    def expected_seconds(self) -> float:
        """What is left of it, by how long the run's own stages took; a killed one may need less."""
        if self.done:
            return 0.0
        stages = ([] if self.takes_stage_1 else [sft.STAGE]) + ([srpo.STAGE] if self.srpo else [])
        return sum(self.parent.manifests[stage].seconds for stage in stages)

    @property
    def told(self) -> str:
        """What is to be trained, in a few words."""
        if self.done:
            return "done"
        rows, count = len(self.data.rows), len(self.data.pairs)
        first = f"{rows} rows in {steps(self.sft, rows)} steps"
        if self.takes_stage_1:
            first = "the run's own stage 1"
        return f"{first}, {count} pairs in {steps(self.srpo, count)} steps" if self.srpo else first


def plan(variant: Variant, parent: Parent, directory: Path) -> Plan:
    """Data and settings, of as many steps as the run's own; RecipeError where the run does not suffice."""
    recipe, manifests = parent.recipe, parent.manifests
    if variant.kinds and recipe.srpo is None:
        raise RecipeError(f"{variant.name} goes on with stage 2, and the run has none: leave it out")
    data = data_of(variant, parent)
    srpo_settings = None
    if variant.kinds and recipe.srpo:
        srpo_settings = same_steps(recipe.srpo, len(data.pairs), manifests[srpo.STAGE].rows)
    sft_settings = same_steps(recipe.sft, len(data.rows), manifests[sft.STAGE].rows)
    return Plan(variant, parent, directory, data, sft_settings, srpo_settings)
