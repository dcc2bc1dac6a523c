"""The register of what was published: every clause id ever given, and the words of every version.

It is what `check` holds the documents against, so that no id is lost or given twice, and no word
changes without a new version and an entry in the changelog.
"""

import hashlib
import json
from collections.abc import Container, Iterable, Iterator, Mapping
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from policies.catalog import Catalog
from policies.changelog import version_key
from policies.compare import Change, Kind, State, changes
from policies.document import CatalogError, Policy

REGISTER_FILE = "published.json"

_LEVELS = {Kind.REDECIDED: 0, Kind.RETIRED: 0, Kind.ADDED: 1, Kind.REWORDED: 2}
"""Which part of major.minor.patch a change has to raise, at least."""
_NEVER = {
    Kind.REMOVED: "its id must not vanish; put it back, and retire it with a line `Retired: version`",
    Kind.REUSED: "a retired id is never used again; give the clause the next free one",
}
_GONE = "its document must not vanish; put it back, and retire it with a header line `retired: version`"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class PublishedPolicy(_Strict):
    """One document, as it was published last."""

    version: str
    digest: str
    """Over all of it but the changelog, 16 hex digits."""
    clauses: dict[str, str]
    """Clause in force to fingerprint."""
    retired: list[str]


class Register(_Strict):
    """All documents ever published."""

    policies: dict[str, PublishedPolicy]

    @property
    def state(self) -> State:
        """The clauses as they were published."""
        fingerprints = {id_: print_ for one in self.policies.values() for id_, print_ in one.clauses.items()}
        return State(fingerprints, frozenset(id_ for one in self.policies.values() for id_ in one.retired))


def read_register(where: Traversable) -> Register | None:
    """The register beside the documents, or None where there is none yet."""
    path = where / REGISTER_FILE
    if not path.is_file():
        return None
    try:
        return Register.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise CatalogError(f"{path}: restore it from version control: {error}") from error


def faults(catalog: Catalog, register: Register, lent: Container[str] = ()) -> list[str]:
    """What stands between the documents and their publication, a line each with its remedy.

    LENT are ids of documents that others answer for: whoever stops overriding one loses no id.
    """
    present = {document.id for document in catalog.documents}
    found = [f"{id_}: {_GONE}" for id_ in register.policies if id_ not in present and id_ not in lent]
    state = Register(policies={id_: one for id_, one in register.policies.items() if id_ in present}).state
    by_policy: dict[str, list[Change]] = {}
    for change in changes(state, State.of(catalog)):
        by_policy.setdefault(change.policy, []).append(change)
    found += [line for one in by_policy.values() for line in _forbidden(one)]
    lost = state.retired - catalog.retired_ids - catalog.fingerprints.keys()
    found += [f"{id_}: its tombstone must not vanish; put it back" for id_ in sorted(lost)]
    for document in catalog.documents:
        if published := register.policies.get(document.id):
            found += _version_faults(document, published, by_policy.get(document.id, []))
    return found


def unpublished(catalog: Catalog, register: Register) -> list[str]:
    """Documents whose content or version the register does not know."""
    return [
        f"{document.id} {document.version}"
        for document in catalog.documents
        if register.policies.get(document.id) != _published(document)
    ]


def write_register(directory: Path, catalog: Catalog, before: Register) -> None:
    """Publish: from here on the documents' present words belong to their present versions.

    A document that is not there any more keeps its entry, so that it cannot come back as something else.
    """
    present = {document.id: _published(document) for document in catalog.documents}
    register = Register(policies=dict(sorted((before.policies | present).items())))
    (directory / REGISTER_FILE).write_text(f"{register.model_dump_json(indent=1)}\n", encoding="utf-8")


def _forbidden(found: Iterable[Change]) -> Iterator[str]:
    yield from (f"{one.clause}: {_NEVER[one.kind]}" for one in found if one.kind in _NEVER)


def _version_faults(document: Policy, published: PublishedPolicy, found: list[Change]) -> Iterator[str]:
    if document.version == published.version:
        if _digest(document) != published.digest:
            yield (
                f"{document.file_name}: it differs from what was published as {published.version}; raise "
                "its version and say in its changelog what changed"
            )
        return
    level = min((_LEVELS[one.kind] for one in found if one.kind in _LEVELS), default=2)
    least = _raised(published.version, level)
    if version_key(document.version) < version_key(least):
        gravest = ", ".join(f"{one.clause} {one.kind}" for one in found if _LEVELS.get(one.kind) == level)
        yield f"{document.file_name}: {gravest or 'a change'} asks for version {least} at least"


def _raised(version: str, level: int) -> str:
    parts = list(version_key(version))
    parts[level:] = [parts[level] + 1, *[0] * (2 - level)]
    return ".".join(map(str, parts))


def _published(document: Policy) -> PublishedPolicy:
    in_force: Mapping[str, str] = {clause.id: clause.fingerprint for clause in document.clauses}
    buried = [clause.id for clause in document.retired]
    if document.retired_in:
        in_force, buried = {}, [*in_force, *buried]
    return PublishedPolicy(
        version=document.version, digest=_digest(document), clauses=dict(in_force), retired=sorted(buried)
    )


def _digest(document: Policy) -> str:
    content: list[Any] = [document.slug, document.title, document.references, document.retired_in]
    content += [[clause.fingerprint, document.hazards_of(clause)] for clause in document.clauses]
    content += [[one.borders] for one in document.boundary]
    content += [[one.id, one.title, one.retired_in, one.text] for one in document.retired]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
