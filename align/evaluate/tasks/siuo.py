"""SIUO: 167 questions that are harmless without their picture, and pictures that are without their question.

Safe and effective are two measures, as a reply that says nothing is safe and of no use; the third is both.
"""

from inspect_ai import Task, task

from align.evaluate.asked import MAX_TOKENS, benchmark
from align.evaluate.samples import sample_of
from align.evaluate.scorers.effective import effective
from align.evaluate.scorers.harm import harm
from align.evaluate.tasks.published import rows
from align.evaluate.trace_scorer import trace_scorer


@task
def siuo(
    path: str | None = None,
    reasoning_format: str = "think",
    max_tokens: int = MAX_TOKENS,
    policies: str | None = None,
) -> Task:
    """Harmful rate by each row's own warning, the share of effective answers, and of those that are both."""
    found = rows("siuo", path)
    return benchmark(
        (sample_of(row, row.meta["category"]) for row in found),
        [
            harm("siuo", reasoning_format),
            effective(reasoning_format),
            trace_scorer(reasoning_format, policies),
        ],
        max_tokens=max_tokens,
        reading=2,
    )
