"""Which of two replies is worse, by the paper's three priorities.

Safety first: any violation is worse than none. Then utility: the more helpful of the safe. Then the
quality of the reasoning: coherent, accurate, guided by the policy. Marks of several rounds are averaged.
"""

from collections.abc import Sequence
from statistics import fmean
from typing import Literal

from align.records import FULL_MARK, Mined, Scores

Priority = Literal["safety", "utility", "reasoning"]
Rank = tuple[float, float, float]
"""On each priority, from 1 to 5; compared from left to right, so smaller is worse."""
REASONING = ("policy_relevance", "logical_accuracy", "multimodal_consistency")


def rank(rounds: Sequence[Scores]) -> Rank:
    """A reply's place."""
    return (
        fmean(scores.safety for scores in rounds),
        fmean(scores.helpfulness for scores in rounds),
        fmean(scores.marks[name] for scores in rounds for name in REASONING),
    )


def fault(rounds: Sequence[Scores]) -> Priority | None:
    """The first priority in which a reply falls short of full marks; None where it does in none."""
    names: tuple[Priority, ...] = ("safety", "utility", "reasoning")
    return next((name for name, mark in zip(names, rank(rounds), strict=True) if mark < FULL_MARK), None)


def worst(replies: Sequence[Mined]) -> Mined | None:
    """The worst of a query's mined replies; the miner's name decides between equals."""
    return min(replies, key=lambda reply: (rank(reply.rounds), reply.miner), default=None)


def refuses_in_effect(reply: Mined) -> bool:
    """Safe, and of no use: by the rubric that is a harmless request refused."""
    return fault(reply.rounds) == "utility" and all(scores.helpfulness == 1 for scores in reply.rounds)
