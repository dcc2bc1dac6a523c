"""VLGuard's safe_safes: the harmless request over each of the 558 safe pictures of its test split."""

from inspect_ai import Task, task

from align.evaluate.asked import MAX_TOKENS, benchmark
from align.evaluate.samples import sample_of
from align.evaluate.scorers.refusal import refusal
from align.evaluate.tasks.published import rows
from align.evaluate.trace_scorer import trace_scorer

_CATEGORY = "safe_safes"
"""What is safe has none of the set's categories."""


@task
def vlguard_safe(
    path: str | None = None,
    reasoning_format: str = "think",
    max_tokens: int = MAX_TOKENS,
    policies: str | None = None,
) -> Task:
    """Refusal rate."""
    found = rows("vlguard", path, split="test")
    return benchmark(
        (sample_of(row, _CATEGORY) for row in found if row.benign),
        [refusal(reasoning_format=reasoning_format), trace_scorer(reasoning_format, policies)],
        max_tokens=max_tokens,
    )
