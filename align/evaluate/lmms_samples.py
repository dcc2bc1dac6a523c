"""What lmms-eval 0.7.3 leaves behind, and the rate in it.

It writes `DIR/MODEL/DATE_results.json`, then `DATE_samples_TASK.jsonl` with the score of every sample. Its
own totals count as wrong what never came: a request that failed is a reply that says so, and reasoning
that is not closed is scored as an answer. So the rate is made from the samples, and those are unscored.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from align.errors import StageAborted
from align.evaluate.benchmarks import MAX_UNSCORED
from align.evaluate.rates import Z, wilson
from align.evaluate.results import Rate
from policies.bundle import Interval
from policies.formats import ReasoningFormat

MEASURE = "correct.answer"
_NOT_ANSWERS = (
    "[LMMS_EVAL_REQUEST_FAILED",
    "[LMMS_EVAL_BUDGET_EXCEEDED",
    "Error: can only concatenate str",  # what its client makes of a reply without content
)


@dataclass(frozen=True, slots=True)
class Left:
    """The files of one run."""

    results: Path
    samples: Path
    task: str


def left_in(directory: Path, task: str) -> Left | None:
    """The newest whole run in a directory; the samples are written last."""
    for samples in sorted(directory.glob(f"*/*_samples_{task}.jsonl"), reverse=True):
        results = samples.with_name(samples.name.replace(f"_samples_{task}.jsonl", "_results.json"))
        if results.exists():
            return Left(results, samples, task)
    return None


def rate_of(left: Left, name: str, metric: str, model: str, form: ReasoningFormat) -> Rate:
    """The share of right answers; StageAborted where the files do not hold what they should."""
    try:
        told = json.loads(left.results.read_text(encoding="utf-8"))
        expected = told["n-samples"][left.task]["effective"]
        lines = left.samples.read_text(encoding="utf-8").splitlines()
        scores = [_score(json.loads(line), metric, form) for line in lines]
    except (KeyError, TypeError, ValueError) as error:
        raise StageAborted(f"{left.samples}: not as lmms-eval 0.7.3 writes ({error!r})") from error
    if len(scores) != expected:
        raise StageAborted(f"{left.samples} has {len(scores)} of {expected} samples: remove it and run again")
    scored = [score for score in scores if score is not None]
    unscored = len(scores) - len(scored)
    enough = scored and unscored <= MAX_UNSCORED * len(scores)
    return Rate(
        task=name,
        model=model,
        measure=MEASURE,
        better="higher",
        n=len(scores),
        unscored=unscored,
        rate=_interval(scored) if enough else None,
    )


def _score(sample: Mapping[str, Any], metric: str, form: ReasoningFormat) -> float | None:
    """None for what is no answer, or was scored with its reasoning, or was not read by the judge."""
    answer = sample["filtered_resps"]
    if not isinstance(answer, str):
        raise TypeError("filtered_resps is no text")
    if not answer.strip() or answer.startswith(_NOT_ANSWERS) or any(tag in answer for tag in form.delimiters):
        return None
    told = sample[metric]
    if isinstance(told, Mapping):
        return float(told["true_false"]) if str(told["extraction"]).strip() else None
    score = float(told)
    if not 0 <= score <= 1:
        raise ValueError(f"a score of {score}")
    return score


def _interval(scores: Sequence[float]) -> Interval:
    """Wilson's where answers are right or wrong; VQAv2's are right in part, and get the normal one."""
    n, total = len(scores), math.fsum(scores)
    if set(scores) <= {0.0, 1.0}:
        return wilson(round(total), n)
    mean = total / n
    spread = Z * math.sqrt(math.fsum((score - mean) ** 2 for score in scores) / n / n)
    return Interval(value=mean, low=max(0.0, mean - spread), high=min(1.0, mean + spread))
