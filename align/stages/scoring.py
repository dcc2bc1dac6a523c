"""One reply's marks: rounds of the five-dimension score, and the reading of what a scorer writes.

A round's own scores carry a key that the judged text cannot know, so scores that it contains, or that
the scorer quotes from it, are nobody's. What cannot be read is no mark at all: never full, never low.
"""

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from align.json_objects import objects
from align.prompts import scorer_messages, scores_key, scores_schema
from align.records import DIMENSIONS, DropReason, Scores
from align.stages.asking import Drop, each_bounded, reply_of
from align.stages.cases import Case
from align.stages.seeds import retry_seed
from align.stages.workspace import Workspace
from align.teacher.desk import Desk
from policies.forms import Budget


class UnreadableScores(ValueError):
    """A scorer's reply without scores of its own, or with two that differ."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a reply is scored, and how often an unreadable round is asked for anew."""

    rounds: int
    unreadable_retries: int


async def marks(
    case: Case, reply: str, patience: Patience, desk: Desk, workspace: Workspace
) -> tuple[Scores, ...]:
    """The first round alone where it is not full: no other round could make up for it. Raises Drop."""
    first = await _round(case, reply, 0, patience, desk, workspace)
    if not first.full:
        return (first,)
    rounds = [first] * patience.rounds

    async def another(number: int) -> None:
        rounds[number] = await _round(case, reply, number, patience, desk, workspace)

    # Where one of them drops the reply, nothing more is paid for the others.
    await each_bounded(another, range(1, patience.rounds), patience.rounds)
    return tuple(rounds)


async def _round(
    case: Case, reply: str, number: int, patience: Patience, desk: Desk, workspace: Workspace
) -> Scores:
    scorer = desk.role("scorer")
    shown = case.shown_to(scorer.role, workspace)
    policies, budget = case.policies(workspace.catalog), Budget(workspace.recipe.trajectories.policy_tokens)
    fault = ""
    for retry in range(patience.unreadable_retries + 1):
        seed = retry_seed(workspace.recipe.seed, number, retry)
        key = scores_key(reply, seed)
        asked = scorer_messages(case.query.instruction, reply, policies, key=key, budget=budget, **shown)
        answer = await reply_of(scorer, asked, seed=seed, schema=scores_schema(key))
        try:
            return read_scores(answer.text, key)
        except UnreadableScores as error:
            fault = f"round {number + 1}: {error}"
    raise Drop(DropReason.UNREADABLE, fault)


def read_scores(text: str, key: str) -> Scores:
    """The scores under the key, wherever they stand in the text; raises UnreadableScores."""
    own = {_scores(found) for found in objects(text) if found.get("key") == key}
    if len(own) != 1:
        what = "no scores under its key" if not own else "several scores that differ"
        raise UnreadableScores(f"{what}: {text[:200]!r}")
    return own.pop()


def _scores(found: dict[str, Any]) -> Scores:
    try:
        return Scores.model_validate({name: found.get(name) for name in DIMENSIONS})
    except ValidationError as error:
        raise UnreadableScores(f"{error.errors()[0]['loc'][0]}: {error.errors()[0]['msg']}") from None
