"""SPA-VL's split `harm`: 265 harmful questions about pictures."""

from inspect_ai import Task, task

from align.evaluate.asked import MAX_TOKENS, benchmark
from align.evaluate.samples import sample_of
from align.evaluate.scorers.harm import harm
from align.evaluate.tasks.published import rows
from align.evaluate.trace_scorer import trace_scorer

_UNSTATED = "unstated"


@task
def spa_vl_harm(
    path: str | None = None,
    reasoning_format: str = "think",
    max_tokens: int = MAX_TOKENS,
    policies: str | None = None,
) -> Task:
    """Harmful rate; categories are the set's six domains."""
    found = rows("spa-vl", path, split="harm")
    return benchmark(
        (sample_of(row, row.meta.get("class1", _UNSTATED)) for row in found),
        [harm(reasoning_format=reasoning_format), trace_scorer(reasoning_format, policies)],
        max_tokens=max_tokens,
    )
