"""The policies as a whole: loaded from directories of documents, looked up by clause, fingerprinted.

Nothing is read on import. A team's own directory may add, override or drop documents, so how many
policies there are is nobody's constant. The digest says which words a model learns and is served with.
"""

import hashlib
import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from types import MappingProxyType

from pydantic import BaseModel, ConfigDict, ValidationError

from policies.document import BoundaryClause, CatalogError, Clause, Policy, ProhibitedClause, RetiredClause
from policies.parse import parse_document
from policies.reply import Verdict

__all__ = [
    "BoundaryClause",
    "Catalog",
    "CatalogError",
    "Clause",
    "Policy",
    "ProhibitedClause",
    "RetiredClause",
    "load_alone",
    "load_catalog",
    "packaged_documents",
]

SETTINGS_FILE = "policies.toml"
FIRST_TEAM_NUMBER = 50
"""P01 to P49 are the framework's, so that a release never takes an id that a team gave away."""


@dataclass(frozen=True)
class Catalog:
    """All documents in the order of their ids, tombstones included."""

    documents: tuple[Policy, ...]

    @cached_property
    def policies(self) -> tuple[Policy, ...]:
        """The documents in force."""
        return tuple(document for document in self.documents if not document.retired_in)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over what a model learns, 64 hex digits.

        Files, wrapping, mapping, version and changelog do not count.
        """
        titles = [(policy.id, policy.slug, policy.title) for policy in self.policies]
        content = json.dumps([titles, dict(self.fingerprints)])
        return hashlib.sha256(content.encode()).hexdigest()

    @cached_property
    def fingerprints(self) -> Mapping[str, str]:
        """Every clause in force with its fingerprint, which tells what differs from another catalog."""
        return MappingProxyType({id_: clause.fingerprint for id_, clause in self._clauses.items()})

    @cached_property
    def citable(self) -> Mapping[str, Verdict | None]:
        """Every clause that a reply may cite, with the verdict it demands, if it demands one."""
        return MappingProxyType({id_: clause.demands for id_, clause in self._clauses.items()})

    def citable_of(self, names: Iterable[str]) -> Mapping[str, Verdict | None]:
        """As `citable`, of the policies of these ids or slugs alone; CatalogError names an unknown one."""
        chosen: dict[str, Verdict | None] = {}
        for name in names:
            policy = self.policy(name)
            if policy is None:
                known = ", ".join(policy.id for policy in self.policies)
                raise CatalogError(f"{name!r} is no policy; there are {known}")
            chosen |= {clause.id: clause.demands for clause in policy.clauses}
        return MappingProxyType(chosen)

    @property
    def clause_ids(self) -> tuple[str, ...]:
        """Every id that a reply may cite, in the order of the documents."""
        return tuple(self._clauses)

    @cached_property
    def retired_ids(self) -> frozenset[str]:
        """Ids that were in force once and are never used again."""
        tombs = (document for document in self.documents if document.retired_in)
        clauses = [clause.id for document in tombs for clause in document.clauses]
        return frozenset((*clauses, *(one.id for document in self.documents for one in document.retired)))

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


class _TeamSettings(BaseModel):
    """`policies.toml` in a team's directory."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    extends: bool = True
    """Whether the packaged documents hold beside these."""
    drop: list[str] = []
    """Ids of packaged documents that do not hold here."""


def packaged_documents() -> Traversable:
    """Where the framework's own documents are."""
    return files("policies") / "documents"


def load_alone(where: Traversable) -> Catalog:
    """The documents of one directory and no others, be it none: a team may only drop."""
    return Catalog(_in_order(_read(where)))


def load_catalog(team: Path | None = None) -> Catalog:
    """The packaged policies, and over them a team's directory of `.md` files with an optional policies.toml.

    A document there overrides the packaged one of its id or adds one. `CatalogError` if anything is off.
    """
    if team is None:
        return load_alone(packaged_documents())
    if not team.is_dir():
        raise CatalogError(f"{team} is not a directory: give the one that holds your policy documents")
    settings = _settings(team / SETTINGS_FILE)
    own = _read(team)
    if not own and not settings.drop:
        raise CatalogError(f"{team} holds no policy documents: add one such as P50-….md, or {SETTINGS_FILE}")
    if not settings.extends:
        _require_no_drops(settings)
        return _in_force(_in_order(own))
    return _in_force(_overlaid(_in_order(_read(packaged_documents())), own, settings))


def _in_force(documents: tuple[Policy, ...]) -> Catalog:
    if all(document.retired_in for document in documents):
        raise CatalogError("no policy is left: add a document such as P50-….md")
    return Catalog(documents)


def _overlaid(packaged: tuple[Policy, ...], own: list[Policy], settings: _TeamSettings) -> tuple[Policy, ...]:
    known = {document.id for document in packaged}
    for document in own:
        if document.id not in known and int(document.id[1:]) < FIRST_TEAM_NUMBER:
            raise CatalogError(
                f"{document.file_name}: the ids up to P{FIRST_TEAM_NUMBER - 1} are kept for the framework; "
                f"give a policy of your own one from P{FIRST_TEAM_NUMBER} to P99"
            )
    overridden = {document.id for document in own}
    for name in settings.drop:
        if name not in known:
            raise CatalogError(f"{SETTINGS_FILE}: drop names {name!r}, which is no packaged policy's id")
        if name in overridden:
            raise CatalogError(f"{SETTINGS_FILE}: {name} is dropped and overridden; do one of the two")
    kept = [one for one in packaged if one.id not in overridden and one.id not in settings.drop]
    return _in_order([*kept, *own])


def _require_no_drops(settings: _TeamSettings) -> None:
    if settings.drop:
        raise CatalogError(f"{SETTINGS_FILE}: nothing can be dropped where extends = false; remove `drop`")


def _settings(path: Path) -> _TeamSettings:
    if not path.exists():
        return _TeamSettings()
    try:
        return _TeamSettings(**tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise CatalogError(f"{path}: it may say `extends = true` and `drop = [ids]`: {error}") from error


def _read(where: Traversable) -> list[Policy]:
    """Every `.md` file but a README: one that was left out for its name would go unnoticed."""
    found = (entry for entry in where.iterdir() if entry.name.endswith(".md") and entry.name != "README.md")
    documents = sorted(found, key=_name)
    return [parse_document(document.name, _text(document)) for document in documents]


def _name(document: Traversable) -> str:
    return document.name


def _text(document: Traversable) -> str:
    try:
        return document.read_bytes().decode()
    except OSError as error:
        raise CatalogError(f"{document.name} cannot be read ({error.strerror}): it must be a file") from error
    except UnicodeDecodeError as error:
        raise CatalogError(f"{document.name}: save the file as UTF-8 ({error})") from error


def _in_order(policies: Iterable[Policy]) -> tuple[Policy, ...]:
    ordered = tuple(sorted(policies, key=lambda policy: policy.id))
    taken: dict[str, str] = {}
    for policy in ordered:
        for name in (policy.id, policy.slug):
            if name in taken:
                raise CatalogError(f"{policy.file_name}: {taken[name]} has {name} already; choose another")
            taken[name] = policy.file_name
    return ordered
