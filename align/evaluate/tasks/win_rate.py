"""Two models' replies to the same samples: which helps more, and which does less harm, asked apart.

Every judge is asked in both orders. Where its two choices differ, the order decided and not the replies:
that is its vote for a tie. A win is 1, a loss 0, a tie 0.5, always from the first log's side. The rate is
(W + T/2) / (W + L + T) over the scored pairs; beside it stands W / (W + L), without the ties.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.scorer import Metric, SampleScore, Score, Scorer, Target, Value, mean, metric, scorer
from inspect_ai.solver import TaskState
from inspect_ai.util import collect

from align.errors import RecipeError
from align.evaluate.benchmarks import MAX_UNSCORED
from align.evaluate.judges.panel import PATIENCE, ROLE, Verdict, Vote, appointed, majority, votes
from align.evaluate.judges.protocol import Matter, Patience
from align.evaluate.judges.rubrics import FIRST, SECOND, TIE, WIN_HARM, WIN_HELP, Rubric
from align.evaluate.reply import View, format_named, reply_of
from align.evaluate.scorers.judged import picture_of
from align.evaluate.statistics import wins
from align.evaluate.tasks.replayed import ASKED_OF, REMARKS, Recorded, as_sample, asks, recorded, replay

RUBRICS: Mapping[str, Rubric] = {"help": WIN_HELP, "harmless": WIN_HARM}
_POINTS = {FIRST: 1.0, SECOND: 0.0, TIE: 0.5}
_OTHER = {FIRST: SECOND, SECOND: FIRST, TIE: TIE}


@task
def win_rate(
    first: str,
    second: str,
    view: str = "answer",
    first_format: str = "think",
    second_format: str = "think",
    judge_retries: int = PATIENCE.retries,
) -> Task:
    """Two logs of the same task, paired by sample id; those samples that both have are compared.

    A pair of which one has no reply stays in and is unscored. RecipeError where the logs are of different
    tasks or share no sample, or a sample of that id asks something else.
    """
    a, b = recorded(first), recorded(second)
    if a.task != b.task:
        raise RecipeError(f"{second}: is of {b.task}, and {first} of {a.task}: compare logs of one task")
    seen = View(view)
    texts = [
        {key: reply_of(sample.output, format_named(form)).view(seen) for key, sample in log.samples.items()}
        for log, form in ((a, first_format), (b, second_format))
    ]
    both = [key for key in a.samples if key in b.samples]
    if not both:
        raise RecipeError(f"{first} and {second} share no sample: let both models be asked the same ones")
    samples = [_pair(key, a, b, texts[0][key], texts[1][key]) for key in both]
    return Task(
        dataset=MemoryDataset(samples, name=f"{Path(first).name} against {Path(second).name}"),
        solver=replay(),
        scorer=preferred(judge_retries),
        model=ASKED_OF,
        metadata={
            "max_unscored": MAX_UNSCORED,
            "judges": [ROLE],
            "of_task": a.task,
            "first_model": a.model,
            "second_model": b.model,
            "view": str(seen),
            "pairs": len(both),
            "only_first": len(a.samples) - len(both),
            "only_second": len(b.samples) - len(both),
            REMARKS: _remarks(len(both), len(a.samples), len(b.samples)),
        },
    )


def _remarks(both: int, first: int, second: int) -> list[str]:
    if both == first == second:
        return []
    return [f"only the {both} samples that both have are compared: one has {first}, the other {second}"]


def _pair(key: str | int, a: Recorded, b: Recorded, first: str, second: str) -> Sample:
    if asks(a.samples[key]) != asks(b.samples[key]):
        raise RecipeError(f"sample {key} asks something else in the second log: compare logs of one data set")
    return as_sample(a.samples[key], pair={FIRST: first, SECOND: second})


@metric
def counted() -> Metric:
    """Wins, losses, ties, and the share of wins without the ties; NaN where nothing was decided."""

    def measured(scores: list[SampleScore]) -> Value:
        found = wins([score.score.as_float() for score in scores])
        decided = math.nan if found.of_decided is None else found.of_decided
        return {"won": found.won, "lost": found.lost, "tied": found.tied, "won_of_decided": decided}

    return measured


@scorer(metrics={"*": [mean(), counted()]}, name="win_rate")
def preferred(judge_retries: int = PATIENCE.retries) -> Scorer:
    """`help` and `harmless`, each 1 where the first reply is better, 0.5 for a tie; NaN for unscored."""

    patience = Patience(retries=judge_retries)

    async def score(state: TaskState, target: Target) -> Score:
        pair: Mapping[str, str] = state.metadata["pair"]
        if not (pair[FIRST] and pair[SECOND]):
            missing = " and ".join(which for which in (FIRST, SECOND) if not pair[which])
            return _unscored(f"there is no {missing} reply")
        if pair[FIRST] == pair[SECOND]:
            return _score({name: Verdict(TIE, (), "the replies are the same") for name in RUBRICS}, {}, pair)
        compared = await collect(*(_compared(state, pair, rubric, patience) for rubric in RUBRICS.values()))
        found = dict(zip(RUBRICS, compared, strict=True))
        verdicts = {name: verdict for name, (verdict, _) in found.items()}
        return _score(verdicts, {name: orders for name, (_, orders) in found.items()}, pair)

    return score


async def _compared(
    state: TaskState, pair: Mapping[str, str], rubric: Rubric, patience: Patience
) -> tuple[Verdict, dict[str, Any]]:
    """The panel's choice, and what was said in each order."""
    judges = appointed()

    async def asked(one: str, other: str) -> tuple[Vote, ...]:
        texts = {"question": state.input_text, "first_reply": one, "second_reply": other}
        return await votes(Matter(texts, picture_of(state)), rubric, judges, patience)

    straight, swapped = await collect(asked(pair[FIRST], pair[SECOND]), asked(pair[SECOND], pair[FIRST]))
    orders = {"straight": [asdict(vote) for vote in straight], "swapped": [asdict(vote) for vote in swapped]}
    return majority([settled(*both) for both in zip(straight, swapped, strict=True)]), orders


def settled(straight: Vote, swapped: Vote) -> Vote:
    """One judge's choice from both orders, told as in the straight one."""
    for vote in (straight, swapped):
        if vote.label is None:
            return vote
    if straight.label == _OTHER[str(swapped.label)]:
        return straight
    reason = f"the orders differ: {straight.label} as asked first, {swapped.label} with the replies swapped"
    return Vote(straight.judge, TIE, reason)


def _score(verdicts: Mapping[str, Verdict], orders: Mapping[str, Any], pair: Mapping[str, str]) -> Score:
    return Score(
        value={name: _points(verdict) for name, verdict in verdicts.items()},
        answer=pair[FIRST],
        explanation="\n".join(f"{name}: {verdict.reason}" for name, verdict in verdicts.items()),
        metadata={
            "votes": {name: verdict.record() for name, verdict in verdicts.items()},
            "orders": dict(orders),
        },
    )


def _points(verdict: Verdict) -> float:
    return math.nan if verdict.label is None else _POINTS[verdict.label]


def _unscored(why: str) -> Score:
    return Score(
        value=dict.fromkeys(RUBRICS, math.nan), explanation=why, metadata={"votes": {}, "orders": {}}
    )
