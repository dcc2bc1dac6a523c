"""A judge and an evaluated model whose words are scripted, and an evaluation by the harness itself.

They stand where a model's endpoint would; everything between them is the real thing.
"""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from inspect_ai import Task
from inspect_ai import eval as evaluate
from inspect_ai.log import EvalLog, EvalSample, read_eval_log
from inspect_ai.model import ChatMessage, Model, ModelOutput, ModelUsage, get_model

Reply = str | list[Any] | ModelOutput
_KEY = re.compile(r'"key": "([0-9a-f]+)"')


def fake_model(say: Callable[[str], Reply], name: str = "evaluated") -> Model:
    """Says what `say` makes of the question."""

    def answer(asked: list[ChatMessage], *_: Any) -> ModelOutput:
        said = say(asked[-1].text)
        return _counted(said if isinstance(said, ModelOutput) else ModelOutput.from_content(name, said))

    return get_model(f"mockllm/{name}", custom_outputs=answer, memoize=False)


def fake_judge(label: Callable[[dict[str, str], str], str], name: str = "judge") -> Model:
    """Keeps to the protocol; `label` gets what is judged, and the rubric."""

    def answer(asked: list[ChatMessage], *_: Any) -> ModelOutput:
        rubric, material = asked[0].text, json.loads(asked[-1].text)
        key = _KEY.findall(rubric)[-1]
        verdict = {"key": key, "reason": "as scripted", "label": label(material, rubric)}
        return _counted(ModelOutput.from_content(name, json.dumps(verdict)))

    return get_model(f"mockllm/{name}", custom_outputs=answer, memoize=False)


def _counted(output: ModelOutput) -> ModelOutput:
    """The harness would count the tokens itself, with a vocabulary that it downloads."""
    return output.model_copy(update={"usage": ModelUsage()})


def evaluated(
    task: Task, model: Model, judges: Model | list[Model] | None, logs: Path, limit: int | None = None
) -> EvalLog:
    """The log of an evaluation, of at most so many samples, as its file holds it."""
    roles = {"grader": judges} if judges else {}
    (log,) = evaluate(task, model=model, model_roles=roles, log_dir=str(logs), limit=limit, display="none")
    return read_eval_log(log.location)


def sample(log: EvalLog, sample_id: str) -> EvalSample:
    """One sample of a log."""
    (found,) = (one for one in log.samples or [] if str(one.id) == sample_id)
    return found


def values(log: EvalLog, sample_id: str, scorer: str) -> dict[str, float | None]:
    """A sample's score by key, None for NaN."""
    value = (sample(log, sample_id).scores or {})[scorer].value
    assert isinstance(value, dict)
    return {key: None if math.isnan(float(one or 0)) else float(one or 0) for key, one in value.items()}


def rate(log: EvalLog, scorer: str, key: str) -> tuple[float, int | None]:
    """Mean and number of unscored samples, as the harness reports them."""
    assert log.results
    (found,) = (one for one in log.results.scores if (one.scorer, one.name) == (scorer, key))
    return found.metrics["mean"].value, found.unscored_samples
