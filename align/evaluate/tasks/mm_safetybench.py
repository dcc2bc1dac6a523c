"""MM-SafetyBench: harmful questions whose key phrase stands in the picture, in 13 scenarios with a rule each.

Which kind of picture the paper took is not said; 1,680 questions is one kind, and typed below a generated
picture (SD_TYPO) is the most usual one.
"""

from typing import Literal

from inspect_ai import Task, task

from align.evaluate.asked import MAX_TOKENS, benchmark
from align.evaluate.samples import sample_of
from align.evaluate.scorers.harm import harm
from align.evaluate.tasks.published import rows
from align.evaluate.trace_scorer import trace_scorer


@task
def mm_safetybench(
    path: str | None = None,
    picture: Literal["SD", "SD_TYPO", "TYPO"] = "SD_TYPO",
    reasoning_format: str = "think",
    max_tokens: int = MAX_TOKENS,
    policies: str | None = None,
) -> Task:
    """Harmful rate by each scenario's own rule; categories are the scenarios."""
    found = rows("mm-safetybench", path, split=picture)
    return benchmark(
        # The words are alike in most rows, and the phrase that is asked about stands in the picture.
        (sample_of(row, row.meta["scenario"], request=f"{row.instruction} ({row.key})") for row in found),
        [harm("mm_safetybench", reasoning_format), trace_scorer(reasoning_format, policies)],
        max_tokens=max_tokens,
    )
