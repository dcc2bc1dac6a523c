"""Several judges on one reply: asked at the same time, the majority of those who voted decides.

Which texts are judged, and what a label means for a rate, is a task's business.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from inspect_ai.model import Model, model_roles
from inspect_ai.util import collect

from align.errors import RecipeError
from align.evaluate.judges.protocol import (
    Deviation,
    Matter,
    Patience,
    Question,
    choice,
    one_of,
    verdict_of,
)
from align.evaluate.judges.rubrics import Rubric

ROLE = "grader"
"""The Inspect model role that judges have; it may be given to several models."""
PATIENCE = Patience()


@dataclass(frozen=True, slots=True)
class Vote:
    """What one judge said."""

    judge: str
    label: str | None
    """None where it gave no verdict that counts."""
    reason: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the panel said."""

    label: str | None
    """None: unscored."""
    votes: tuple[Vote, ...]
    reason: str
    """Of the first judge in the majority, or why there is none."""

    def record(self) -> list[dict[str, Any]]:
        """Every vote, for `Score.metadata["votes"]`."""
        return [asdict(vote) for vote in self.votes]


def appointed() -> tuple[Model, ...]:
    """The judges of the running evaluation; RecipeError where none was named."""
    found = model_roles().get(ROLE, [])
    judges = tuple(found) if isinstance(found, list) else (found,)
    if not judges:
        raise RecipeError(f"no judge: give the model role {ROLE!r} to one model or to several")
    return judges


async def judged(
    question: str,
    image_url: str | None,
    text: str,
    rubric: Rubric,
    judges: Sequence[Model],
    patience: Patience = PATIENCE,
) -> Verdict:
    """One reply, or one view of it, by one rubric."""
    matter = Matter({"question": question, "reply": text}, image_url)
    return majority(await votes(matter, rubric, judges, patience))


async def votes(
    matter: Matter, rubric: Rubric, judges: Sequence[Model], patience: Patience = PATIENCE
) -> tuple[Vote, ...]:
    """Every judge's vote, in their order."""
    question = Question(
        rubric, choice(rubric), lambda found: (one_of(found, rubric), str(found.get("reason", "")))
    )

    async def vote(judge: Model) -> Vote:
        try:
            label, reason = await verdict_of(judge, matter, question, patience)
        except Deviation as deviation:
            return Vote(str(judge), None, f"deviation: {deviation}")
        return Vote(str(judge), label, reason)

    return tuple(await collect(*(vote(judge) for judge in judges)))


def majority(votes: Sequence[Vote]) -> Verdict:
    """What more than half of those who voted say; unscored otherwise, and where fewer than half voted."""
    cast = [vote for vote in votes if vote.label is not None]
    if not cast or 2 * len(cast) < len(votes):
        return Verdict(None, tuple(votes), f"{len(cast)} of {len(votes)} judges voted")
    counts = Counter(vote.label for vote in cast)
    label, count = counts.most_common(1)[0]
    if 2 * count <= len(cast):
        told = ", ".join(f"{count} {label}" for label, count in sorted(counts.items(), key=str))
        return Verdict(None, tuple(votes), f"no majority: {told}")
    return Verdict(label, tuple(votes), next(vote.reason for vote in cast if vote.label == label))
