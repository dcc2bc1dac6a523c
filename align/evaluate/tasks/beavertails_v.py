"""BeaverTails-V: questions about pictures in twenty categories of harm, 590 of them.

The paper counts 589, one for each picture: two questions share one, and which it left out is not said.
"""

from typing import Literal

from inspect_ai import Task, task

from align.evaluate.asked import MAX_TOKENS, benchmark
from align.evaluate.samples import sample_of
from align.evaluate.scorers.harm import harm
from align.evaluate.tasks.published import rows
from align.evaluate.trace_scorer import trace_scorer


@task
def beavertails_v(
    path: str | None = None,
    repository: Literal["pairs", "single"] = "pairs",
    reasoning_format: str = "think",
    max_tokens: int = MAX_TOKENS,
    policies: str | None = None,
) -> Task:
    """Harmful rate; categories are the set's own. `single` has every question twice."""
    found = rows("beavertails-v", path, split="evaluation", repository=repository)
    return benchmark(
        (sample_of(row, str(row.category)) for row in found),
        [harm(reasoning_format=reasoning_format), trace_scorer(reasoning_format, policies)],
        max_tokens=max_tokens,
    )
