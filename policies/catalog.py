"""The policies as a whole: loaded from a directory of documents, looked up by clause, fingerprinted.

Nothing is read on import. The digest says which policies a model was trained on and is served with;
how many there are is the directory's affair.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from policies.document import BoundaryClause, CatalogError, Clause, Policy, parse_document

__all__ = ["BoundaryClause", "Catalog", "CatalogError", "Clause", "Policy", "load_catalog"]


@dataclass(frozen=True)
class Catalog:
    """All policies in the order of their ids."""

    policies: tuple[Policy, ...]

    @cached_property
    def digest(self) -> str:
        """SHA-256 over what the documents say, 64 hex digits; file order and line breaks do not count."""
        content = [asdict(policy) for policy in self.policies]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @cached_property
    def clause_ids(self) -> tuple[str, ...]:
        """Every id that a reply may cite, in the order of the documents."""
        return tuple(self._clauses)

    def clause(self, clause_id: str) -> Clause | None:
        """The clause of that id, or None: a model may cite what does not exist."""
        return self._clauses.get(clause_id)

    def policy(self, name: str) -> Policy | None:
        """The policy of that id or slug, or None."""
        return self._by_name.get(name)

    @cached_property
    def _clauses(self) -> dict[str, Clause]:
        return {clause.id: clause for policy in self.policies for clause in policy.clauses}

    @cached_property
    def _by_name(self) -> dict[str, Policy]:
        return {name: policy for policy in self.policies for name in (policy.id, policy.slug)}


def load_catalog(directory: Path | None = None) -> Catalog:
    """Read every `.md` file of a directory, by default this package's; `CatalogError` if anything is off."""
    where: Traversable = files("policies") / "documents" if directory is None else directory
    if not where.is_dir():
        raise CatalogError(f"{where} is not a directory: give the one that holds the policy documents")
    documents = sorted(
        (entry for entry in where.iterdir() if entry.name.endswith(".md")), key=lambda e: e.name
    )
    if not documents:
        raise CatalogError(f"{where} holds no policy documents: add P01-….md")
    return Catalog(_in_order(parse_document(document.name, _text(document)) for document in documents))


def _text(document: Traversable) -> str:
    try:
        return document.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise CatalogError(f"{document.name}: save the file as UTF-8 ({error})") from error


def _in_order(policies: Iterable[Policy]) -> tuple[Policy, ...]:
    ordered = tuple(sorted(policies, key=lambda policy: policy.id))
    slugs: dict[str, str] = {}
    for number, policy in enumerate(ordered, start=1):
        if policy.id != f"P{number:02}":
            raise CatalogError(
                f"{policy.file_name}: the next policy is P{number:02}; renumber this or add that one"
            )
        if policy.slug in slugs:
            raise CatalogError(f"{policy.file_name}: {slugs[policy.slug]} has this slug; choose another")
        slugs[policy.slug] = policy.id
    return ordered
