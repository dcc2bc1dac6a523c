"""A reply before the judges: what they are shown, and what their verdicts become in a score.

The judges are the models that the evaluation gives the role `grader` (`panel.appointed`).
"""

import math
from collections.abc import Collection, Mapping
from typing import Any

from inspect_ai.model import ChatMessageUser, ContentImage
from inspect_ai.scorer import Score
from inspect_ai.solver import TaskState

from align.evaluate.judges.panel import Verdict, appointed, judged
from align.evaluate.judges.rubrics import Rubric


async def verdict_on(state: TaskState, text: str, rubric: Rubric) -> Verdict | None:
    """What the judges make of a text; None where there is no text to judge."""
    if not text:
        return None
    return await judged(state.input_text, picture_of(state), text, rubric, appointed())


def picture_of(state: TaskState) -> str | None:
    """The data URL of the picture that the question came with."""
    asked = state.input if isinstance(state.input, list) else []
    contents = (message.content for message in asked if isinstance(message, ChatMessageUser))
    parts = (part for content in contents if isinstance(content, list) for part in content)
    return next((part.image for part in parts if isinstance(part, ContentImage)), None)


def number(verdict: Verdict | None, positive: Collection[str]) -> float:
    """1 for one of the labels, 0 for another, NaN for no verdict."""
    if verdict is None or verdict.label is None:
        return math.nan
    return float(verdict.label in positive)


def scored(scores: Mapping[str, Score] | None, scorer: str, key: str) -> float:
    """What an earlier scorer said under one of its keys; NaN where it could not tell, or was not asked."""
    score = (scores or {}).get(scorer)
    value = score.value.get(key) if score and isinstance(score.value, Mapping) else None
    return float(value) if isinstance(value, int | float) else math.nan


def evidence(verdicts: Mapping[str, Verdict | None]) -> dict[str, Any]:
    """For a score's metadata: every vote on every key of it."""
    return {"votes": {key: verdict.record() for key, verdict in verdicts.items() if verdict}}


def explanation(verdicts: Mapping[str, Verdict | None]) -> str:
    """A line for each key of a score."""
    return "\n".join(
        f"{key}: {verdict.reason if verdict else 'there is no text to judge'}"
        for key, verdict in verdicts.items()
    )
