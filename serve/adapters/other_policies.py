"""Which clauses an adapter may cite where the policies are not those it was trained on.

A clause is only worth citing if it means what the model learned. A bundle trained on other policies is
therefore refused, unless the operator has looked at every clause that differs and says which of them
mean something else now: citations of those are returned as invalid.
"""

from collections.abc import Iterator, Sequence

from policies.bundle import Manifest
from policies.catalog import Catalog
from policies.compare import Change, Kind, State, changes
from policies.reply import Clauses
from serve.adapters.refused import AdapterRefused
from serve.options.adapters import PolicyChangeSettings

_REMARKS = {
    Kind.ADDED: "new, the model does not know it, so it cannot be cited",
    Kind.REWORDED: "other words",
    Kind.REDECIDED: "another verdict, so it means something else",
    Kind.RETIRED: "retired, cannot be cited",
    Kind.REMOVED: "gone, cannot be cited",
}


def citable_clauses(
    name: str, manifest: Manifest, catalog: Catalog, stated: PolicyChangeSettings | None
) -> Clauses:
    """The catalog's clauses that mean what the adapter was taught; raises AdapterRefused."""
    if manifest.policy_digest == catalog.digest:
        if stated:
            raise AdapterRefused(f"{name} was trained on these very policies: remove its policy_change")
        return catalog.citable
    found = changes(State(manifest.policies), State.of(catalog))
    if not stated or not _is_about(stated, manifest, catalog):
        raise AdapterRefused("\n".join(_refusal(name, manifest, catalog, found, stated)))
    _check_statement(name, stated, found)
    unknown = {one.clause for one in found if one.kind in (Kind.ADDED, Kind.REDECIDED)}
    changed = unknown | set(stated.changed_meaning)
    return {id_: demanded for id_, demanded in catalog.citable.items() if id_ not in changed}


def _is_about(stated: PolicyChangeSettings, manifest: Manifest, catalog: Catalog) -> bool:
    from_these = manifest.policy_digest.startswith(stated.trained_digest)
    return from_these and catalog.digest.startswith(stated.served_digest)


def _check_statement(name: str, stated: PolicyChangeSettings, found: Sequence[Change]) -> None:
    reworded = {one.clause for one in found if one.kind in (Kind.REWORDED, Kind.REDECIDED)}
    wrong = [id_ for id_ in stated.changed_meaning if id_ not in reworded]
    if wrong:
        raise AdapterRefused(
            f"{name}: policy_change.changed_meaning names {', '.join(wrong)}, but only these have other "
            f"words: {', '.join(sorted(reworded)) or 'none'}"
        )


def _refusal(
    name: str,
    manifest: Manifest,
    catalog: Catalog,
    found: Sequence[Change],
    stated: PolicyChangeSettings | None,
) -> Iterator[str]:
    trained, served = manifest.policy_digest[:12], catalog.digest[:12]
    yield f"{name} was trained on other policies ({trained}) than these ({served})."
    if stated:
        yield f"Its policy_change speaks of {stated.trained_digest} and {stated.served_digest}, not of these."
    yield "Clauses that differ:"
    yield from (f"  {one.clause}: {_REMARKS[one.kind]}" for one in found)
    if not found:
        yield "  none, but a policy's name; the policies were renamed"
    yield (
        "Serve the policies it was trained on, or train it again. Or look at each of these, and state in "
        "the adapter's settings which ones mean something else now; citations of them will be invalid:"
    )
    digests = f'trained_digest = "{trained}", served_digest = "{served}"'
    yield f'  policy_change = {{ {digests}, changed_meaning = ["…"] }}'
