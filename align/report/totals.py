"""What a run took altogether: time, calls, tokens and money, and with what it was made.

Tokens and money are read from the store of replies, which knows all attempts. Where a run has none, they
are what each stage's last attempt told.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from align.manifest import StageManifest
from align.recipe import digest_of
from align.report.figures import Listing
from align.report.gather import Run
from align.report.spelling import label, money, number
from align.teacher.ledger import Spending
from align.teacher.store import spending_of_run


@dataclass(frozen=True, slots=True)
class Totals:
    """Over the stages of a run."""

    complete: int
    seconds: float
    """Of the attempts that completed their stages."""
    calls: int
    hits: int
    prompt_tokens: int
    completion_tokens: int
    spent: str
    by_model: Listing | None
    """What was spent on whom; None where nothing was."""
    recipe_digest: str
    """Over the parts of the recipe that complete stages read; empty where none is complete."""
    policy_digests: tuple[str, ...]
    versions: Mapping[str, str]


def totals(run: Run) -> Totals:
    """Add up what the stages say; RecipeError where the store cannot be read."""
    manifests = {name: stage.manifest for name, stage in run.stages.items() if stage.manifest}
    asked = [stage.calls for stage in run.stages.values() if stage.calls]
    parts = {name: manifest.origin.recipe_digest for name, manifest in manifests.items()}
    currency = ", ".join(dict.fromkeys(one.currency for one in asked))
    spending = _spending(run)
    return Totals(
        complete=len(manifests),
        seconds=sum(manifest.seconds for manifest in manifests.values()),
        calls=sum(one.calls for one in asked),
        hits=sum(one.hits for one in asked),
        prompt_tokens=sum(one.prompt_tokens for one in spending),
        completion_tokens=sum(one.completion_tokens for one in spending),
        spent=_spent(spending, currency),
        by_model=_by_model(spending, currency) if spending else None,
        recipe_digest=digest_of(parts) if parts else "",
        policy_digests=run.policy_digests,
        versions=_versions(manifests),
    )


def _spending(run: Run) -> list[Spending]:
    if (of_all_attempts := spending_of_run(run.directory)) is not None:
        return of_all_attempts
    return [
        Spending(role, one.prompt_tokens, one.completion_tokens, one.money)
        for stage in run.stages.values()
        if stage.calls
        for role, one in stage.calls.by_role.items()
    ]


def _spent(spending: list[Spending], currency: str) -> str:
    """As far as models have no price, that is said and not counted as nothing."""
    if not spending:
        return "nothing"
    known = [one.money for one in spending if one.money is not None]
    unpriced = dict.fromkeys(one.model for one in spending if one.money is None)
    if not known:
        return money(None, currency)
    said = money(sum(known), currency)
    return f"{said}; not priced: {', '.join(map(label, unpriced))}" if unpriced else said


def _by_model(spending: list[Spending], currency: str) -> Listing:
    rows = (
        (one.model, number(one.prompt_tokens), number(one.completion_tokens), money(one.money, currency))
        for one in spending
    )
    return Listing("Tokens and money", ("asked", "prompt tokens", "completion tokens", "spent"), tuple(rows))


def _versions(manifests: Mapping[str, StageManifest]) -> dict[str, str]:
    """By package; several where stages were made with several."""
    found: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for manifest in manifests.values():
        for name, version in manifest.versions.items():
            found[name][version] = None
    return {name: ", ".join(versions) for name, versions in found.items()}
