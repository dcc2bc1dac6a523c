"""MOSSBench: 300 harmless questions over pictures that look dangerous."""

from inspect_ai import Task, task

from align.evaluate.asked import MAX_TOKENS, benchmark
from align.evaluate.samples import sample_of
from align.evaluate.scorers.refusal import refusal
from align.evaluate.tasks.published import rows
from align.evaluate.trace_scorer import trace_scorer


@task
def mossbench(
    path: str | None = None,
    reasoning_format: str = "think",
    max_tokens: int = MAX_TOKENS,
    policies: str | None = None,
) -> Task:
    """Refusal rate; categories are the three kinds of stimulus."""
    found = rows("mossbench", path)
    return benchmark(
        (sample_of(row, row.meta["stimulus"]) for row in found),
        [refusal(reasoning_format=reasoning_format), trace_scorer(reasoning_format, policies)],
        max_tokens=max_tokens,
    )
