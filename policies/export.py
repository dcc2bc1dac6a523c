"""The policies as JSON for other programs: what `python -m policies export` writes, and its schema.

Everything the documents say is in it. `format` is raised when a field changes its meaning or goes.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from policies.catalog import BoundaryClause, Catalog, Clause, Policy
from policies.reply import Verdict
from policies.taxonomies import HAZARDS

Kind = Literal["principle", "prohibited", "boundary", "rule"]
_KINDS: dict[str, Kind] = {"G": "principle", "D": "prohibited", "B": "boundary", "R": "rule"}


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ExportedClause(_Frozen):
    """A clause in force."""

    id: str
    kind: Kind
    title: str
    text: str
    demands: Verdict | None
    """The verdict that a reply which cites it on its verdict line must have."""
    reason: str | None
    """Of a boundary case."""
    borders: list[str]
    """Prohibited clauses that a boundary case borders on."""
    hazards: dict[str, list[str]]
    """Taxonomy to codes."""
    fingerprint: str


class ExportedTombstone(_Frozen):
    """A clause no longer in force."""

    id: str
    title: str
    retired_in: str
    text: str


class ExportedRelease(_Frozen):
    """An entry of a changelog."""

    version: str
    date: str
    text: str


class ExportedPolicy(_Frozen):
    """A document in force."""

    id: str
    slug: str
    title: str
    version: str
    references: dict[str, list[str]]
    """Vendor's policy to codes."""
    clauses: list[ExportedClause]
    retired: list[ExportedTombstone]
    changelog: list[ExportedRelease]


class ExportedCatalog(_Frozen):
    """All policies in force."""

    format: Literal[1]
    digest: str
    policies: list[ExportedPolicy]
    retired_policies: list[ExportedTombstone]


def export(catalog: Catalog) -> ExportedCatalog:
    """The catalog as it goes out."""
    return ExportedCatalog(
        format=1,
        digest=catalog.digest,
        policies=[_policy(policy) for policy in catalog.policies],
        retired_policies=[
            ExportedTombstone(
                id=one.id, title=one.title, retired_in=one.retired_in, text=one.changelog[0].text
            )
            for one in catalog.documents
            if one.retired_in
        ],
    )


def _policy(policy: Policy) -> ExportedPolicy:
    return ExportedPolicy(
        id=policy.id,
        slug=policy.slug,
        title=policy.title,
        version=policy.version,
        references={taxonomy: list(codes) for taxonomy, codes in policy.references},
        clauses=[_clause(policy, clause) for clause in policy.clauses],
        retired=[
            ExportedTombstone(id=one.id, title=one.title, retired_in=one.retired_in, text=one.text)
            for one in policy.retired
        ],
        changelog=[
            ExportedRelease(version=one.version, date=one.date, text=one.text) for one in policy.changelog
        ],
    )


def _clause(policy: Policy, clause: Clause) -> ExportedClause:
    boundary = clause if isinstance(clause, BoundaryClause) else None
    codes = policy.hazards_of(clause)
    return ExportedClause(
        id=clause.id,
        kind=_KINDS[clause.name[0]],
        title=clause.title,
        text=clause.text,
        demands=clause.demands,
        reason=boundary.reason if boundary else None,
        borders=list(boundary.borders) if boundary else [],
        hazards={one.name: [code for code in codes if code in one.entries] for one in HAZARDS},
        fingerprint=clause.fingerprint,
    )
