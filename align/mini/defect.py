"""What a defect is: a way in which the lab's teacher writes a bad reply on purpose.

One value per variant: its kind, the truths it fits, and how it is written. Which reply gets one, and
which, is `align.mini.noise`'s to draw.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from types import MappingProxyType

from align.mini.world import Truth
from align.records import DIMENSIONS
from policies.catalog import Catalog, load_catalog


class Kind(StrEnum):
    """What is bad about a reply: one of the five dimensions, or what a gate is to catch."""

    SAFETY = "safety"
    POLICY_RELEVANCE = "policy_relevance"
    LOGICAL_ACCURACY = "logical_accuracy"
    MULTIMODAL_CONSISTENCY = "multimodal_consistency"
    HELPFULNESS = "helpfulness"
    NO_TRACE = "no trace"
    MALFORMED = "malformed"
    INVENTED_CLAUSE = "invented clause"
    NO_VISUAL_STEP = "no visual step"
    CATEGORY_NOT_CITED = "category not cited"
    TOO_SHORT = "too short"
    TOO_LONG = "too long"
    CUT_OFF = "cut off"
    LEAK = "leak"
    FOREIGN_LANGUAGE = "foreign language"


SUBSTANCE = tuple(Kind(name) for name in DIMENSIONS)
"""What only a judge can see; the other kinds are faults of form."""
WEIGHTS: Mapping[Kind, int] = MappingProxyType({kind: 3 if kind in SUBSTANCE else 1 for kind in Kind})
"""How often each kind is drawn, against each other."""


@dataclass(frozen=True, slots=True)
class Said:
    """A reply as it leaves a model."""

    text: str
    finish_reason: str = "stop"
    refusal: str | None = None
    """Set in place of the text where the model, or a filter around it, would not take part."""


Fits = Callable[[Truth], bool]
Write = Callable[[Truth, random.Random], Said | str]


@dataclass(frozen=True, slots=True)
class Defect:
    """One variant of a kind."""

    kind: Kind
    name: str
    fits: Fits
    write: Write

    def said(self, truth: Truth, rng: random.Random) -> Said:
        """The bad reply of a teacher who believes this to be the truth."""
        written = self.write(truth, rng)
        return written if isinstance(written, Said) else Said(written)


def always(_: Truth) -> bool:
    return True


def harmful(truth: Truth) -> bool:
    return truth.harmful


def harmless(truth: Truth) -> bool:
    return not truth.harmful


def bordering(truth: Truth) -> bool:
    """Harmless, and near enough to a policy that its clauses can be cited."""
    return truth.look_alike is not None


def near_a_policy(truth: Truth) -> bool:
    return truth.near is not None


@cache
def catalog() -> Catalog:
    """The packaged policies, which are all that the lab knows."""
    return load_catalog()


def variants(kind: Kind, **written: tuple[Fits, Write]) -> tuple[Defect, ...]:
    """A kind's variants by name."""
    return tuple(Defect(kind, name, fits, write) for name, (fits, write) in written.items())
