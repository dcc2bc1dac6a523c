"""What differs between two states of the policies, clause by clause, and how grave each difference is.

A state may be a catalog, what was published, or what an adapter was trained on: all that is needed of
each is the fingerprint of every clause.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from policies.catalog import Catalog
from policies.document import Clause


class Kind(StrEnum):
    """How a clause differs."""

    ADDED = "added"
    REWORDED = "reworded"
    """Title, text or reason; whether the meaning is another one, only a person can say."""
    REDECIDED = "redecided"
    """A boundary case has another verdict."""
    RETIRED = "retired"
    REMOVED = "removed"
    """Gone without a tombstone."""
    REUSED = "reused"
    """Retired once, and in force again: never allowed."""


@dataclass(frozen=True, slots=True)
class Change:
    """One clause that differs."""

    clause: str
    kind: Kind
    old: Clause | None = None
    new: Clause | None = None

    @property
    def policy(self) -> str:
        """Id of the document."""
        return self.clause.partition(".")[0]


@dataclass(frozen=True)
class State:
    """The clauses of some moment, by fingerprint."""

    fingerprints: Mapping[str, str]
    retired: frozenset[str] = frozenset()
    clauses: Mapping[str, Clause] = field(default_factory=dict)
    """Their words, where they are at hand."""
    digest: str = ""
    """Of the whole catalog, where it is known."""

    @classmethod
    def of(cls, catalog: Catalog) -> "State":
        """The state that a catalog is in."""
        clauses = {clause.id: clause for policy in catalog.policies for clause in policy.clauses}
        return cls(catalog.fingerprints, catalog.retired_ids, clauses, catalog.digest)


def changes(old: State, new: State) -> tuple[Change, ...]:
    """Every clause that differs, in the order of the ids in OLD, then what NEW adds."""
    ids = dict.fromkeys((*old.fingerprints, *new.fingerprints))
    return tuple(
        Change(id_, kind, old.clauses.get(id_), new.clauses.get(id_))
        for id_ in ids
        for kind in _kinds(id_, old, new)
    )


def _kinds(id_: str, old: State, new: State) -> Iterator[Kind]:
    before, after = old.fingerprints.get(id_), new.fingerprints.get(id_)
    if before is None:
        yield Kind.REUSED if id_ in old.retired else Kind.ADDED
    elif after is None:
        yield Kind.RETIRED if id_ in new.retired else Kind.REMOVED
    elif before != after:
        yield Kind.REWORDED if _demand(before) == _demand(after) else Kind.REDECIDED


def _demand(fingerprint: str) -> str:
    return fingerprint.rpartition(":")[0]
