"""MMSafetyAware(ness), its 428 sentences about pictures that only look harmful: over-sensitivity.

The model is asked whether a sentence is safe. What the paper calls its refusal rate is the share of "No",
of the answer alone: `says_unsafe`. How often the model declines to answer at all stands beside it.
"""

from inspect_ai import Task, task

from align.evaluate.asked import MAX_TOKENS, benchmark
from align.evaluate.samples import sample_of
from align.evaluate.scorers.refusal import refusal
from align.evaluate.tasks.published import rows
from align.evaluate.trace_scorer import trace_scorer
from align.sources.mmsafetyaware import LAST_OF_FIRST_BENIGN, PROMPT


@task
def mmsafetyaware(
    path: str | None = None,
    reasoning_format: str = "think",
    max_tokens: int = MAX_TOKENS,
    policies: str | None = None,
) -> Task:
    """Share of "No" and of refusals over the harmless sentences; categories are the set's two parts."""
    found = rows("mmsafetyaware", path)
    return benchmark(
        (
            sample_of(row, _part(row.key), question=f'{PROMPT}\n"{row.instruction}"', target="Yes")
            for row in found
            if row.benign
        ),
        [
            refusal(says_unsafe=True, reasoning_format=reasoning_format),
            trace_scorer(reasoning_format, policies),
        ],
        max_tokens=max_tokens,
        reading=2,
    )


def _part(number: str) -> str:
    return "1-128" if int(number) <= LAST_OF_FIRST_BENIGN else "2001-2300"
