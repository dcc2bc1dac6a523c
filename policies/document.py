"""What a policy document says, as values: P_k = {G_k, D_k, R_k} of the paper (section 3), clause by clause.

`policies.parse` reads them from markdown. What a model learns from a clause (title, text, verdict and
reason) makes its fingerprint; mapping, version and changelog are for people and leave it alone.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from policies.reply import Verdict

RULE_VERDICTS = {"R3": Verdict.REFUSE, "R4": Verdict.SAFE_COMPLETE, "R5": Verdict.COMPLY}
"""R1 ground in the image, R2 intent before task, R3 refuse, R4 safe-complete, R5 comply, R6 how to answer."""


class CatalogError(Exception):
    """A catalog that must not be used; the message names the file and the remedy."""


@dataclass(frozen=True, slots=True)
class Clause:
    """One citable sentence or two of a policy: its principle or a rule, if it is of no narrower kind."""

    id: str
    title: str
    """Three to eight words, shown to callers."""
    text: str

    @property
    def name(self) -> str:
        """The id within its document, such as D2."""
        return self.id.partition(".")[2]

    @property
    def demands(self) -> Verdict | None:
        """The verdict that this clause leaves no choice about, if there is one."""
        return RULE_VERDICTS.get(self.name)

    @property
    def fingerprint(self) -> str:
        """The verdict it demands, if any, and 16 hex digits over the words that a model learns."""
        words = json.dumps([self.id, self.title, self.text, self.demands, self._reason()])
        digest = hashlib.sha256(words.encode()).hexdigest()[:16]
        return f"{self.demands}:{digest}" if self.demands else digest

    def _reason(self) -> str:
        return ""


@dataclass(frozen=True, slots=True)
class ProhibitedClause(Clause):
    """A behaviour that the policy prohibits."""

    hazards: tuple[str, ...]
    """Codes of AILuminate and Llama Guard; empty where neither names the hazard."""


@dataclass(frozen=True, slots=True)
class BoundaryClause(Clause):
    """A case near the border, decided."""

    verdict: Verdict
    borders: tuple[str, ...]
    """Ids of the prohibited clauses of this document that it borders on."""
    reason: str

    @property
    def demands(self) -> Verdict:
        """Its own verdict."""
        return self.verdict

    def _reason(self) -> str:
        return self.reason


@dataclass(frozen=True, slots=True)
class RetiredClause:
    """A tombstone: the id is never used again, and no reply may cite it."""

    id: str
    title: str
    retired_in: str
    """The document's version that retired it."""
    text: str
    """Why, and what stands in its place."""


@dataclass(frozen=True, slots=True)
class Release:
    """One entry of a document's changelog."""

    version: str
    date: str
    """ISO 8601."""
    text: str


@dataclass(frozen=True)
class Policy:
    """A policy document."""

    id: str
    slug: str
    title: str
    version: str
    references: tuple[tuple[str, tuple[str, ...]], ...] = field(repr=False)
    """The vendors' policies that it covers: pairs of taxonomy and codes."""
    principle: Clause
    prohibited: tuple[ProhibitedClause, ...]
    boundary: tuple[BoundaryClause, ...]
    rules: tuple[Clause, ...]
    retired: tuple[RetiredClause, ...]
    changelog: tuple[Release, ...] = field(repr=False)
    """Newest first."""
    retired_in: str | None = None
    """Set where the whole document is a tombstone."""

    @cached_property
    def clauses(self) -> tuple[Clause, ...]:
        """All clauses that may be cited, in the document's order."""
        return (self.principle, *self.prohibited, *self.boundary, *self.rules)

    @property
    def file_name(self) -> str:
        """The name its document must have."""
        return f"{self.id}-{self.slug.replace('_', '-')}.md"

    def hazards_of(self, clause: Clause) -> tuple[str, ...]:
        """What a clause is about: a boundary case, what it borders on; principle and rules, everything."""
        match clause:
            case ProhibitedClause(hazards=hazards):
                return hazards
            case BoundaryClause(borders=borders):
                return _distinct(one for one in self.prohibited if one.id in borders)
            case _:
                return _distinct(self.prohibited)


def _distinct(clauses: Iterable[ProhibitedClause]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(hazard for clause in clauses for hazard in clause.hazards))
