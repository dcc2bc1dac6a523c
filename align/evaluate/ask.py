"""One model is asked on some benchmarks through the harness, which keeps every reply as it comes.

What was asked before is not asked again. Knows nothing of how a model is served.
"""

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from align.evaluate.benchmarks import max_unscored
from align.evaluate.endpoint import Endpoint
from align.evaluate.engines import endpoint_of
from align.evaluate.logs import Wanted
from align.evaluate.recipe import Evaluation, Pace

if TYPE_CHECKING:
    from inspect_ai import Task
    from inspect_ai.model import Model

    Judges = Mapping[str, list[Model]]
    """By role; a panel has several."""

_SERVICE = "openai-api/groundrule"


def judges_of(recipe: Evaluation) -> "Judges":
    """The recipe's judges; RecipeError where one does not answer."""
    from inspect_ai.model import GenerateConfig

    found: dict[str, list[Model]] = defaultdict(list)
    for judge in recipe.judges:
        endpoint = endpoint_of(f"judges.{judge.role}", judge)
        config = GenerateConfig(temperature=0.0, max_tokens=judge.max_tokens, **_patience(recipe.pace))
        found[judge.role].append(_model(judge.model, endpoint, config))
    return dict(found)


def ask(name: str, endpoint: Endpoint | None, wanted: Sequence[Wanted], judges: "Judges", pace: Pace) -> None:
    """Ask until all is asked, or too much of a benchmark failed: its log says so.

    Without an endpoint nobody is asked but the judges. A sample whose request fails for good has an error.
    """
    from inspect_ai import eval_set
    from inspect_ai.model import GenerateConfig

    alike: dict[tuple[Path, int | None, bool], list[Wanted]] = defaultdict(list)
    for one in wanted:
        alike[one.folder, one.limit, one.judged].append(one)
    for (folder, limit, judged), together in alike.items():
        folder.mkdir(parents=True, exist_ok=True)
        eval_set(
            [_patient(one) for one in together],
            log_dir=str(folder),
            log_dir_allow_dirty=True,
            model=_model(name, endpoint, GenerateConfig()) if endpoint else None,
            model_roles=dict(judges) if judged else None,
            limit=limit,
            retry_attempts=0,
            retry_immediate=False,
            display="rich" if sys.stdout.isatty() else "plain",
            log_level="warning",
            log_images=True,
            acp_server=False,
            ctl_server=False,
            temperature=0.0,
            max_tokens=pace.max_tokens,
            **_patience(pace),
        )


def _patience(pace: Pace) -> dict[str, Any]:
    return {
        "max_connections": pace.concurrency,
        "max_retries": pace.retries,
        "attempt_timeout": max(1, round(pace.timeout_s)),
    }


def _model(name: str, endpoint: Endpoint, config: Any) -> "Model":
    """The harness knows a model by the recipe's name, the wire by its own."""
    from inspect_ai.model import get_model

    body = dict(endpoint.extra_body)
    if endpoint.model != name:
        body["model"] = endpoint.model
    return get_model(
        f"{_SERVICE}/{name}",
        config=config.model_copy(update={"extra_body": body or None}),
        base_url=endpoint.base_url,
        api_key=endpoint.api_key or "none",
        memoize=False,
        max_retries=0,  # the harness retries; the library below it would do so in secret
    )


def _patient(wanted: Wanted) -> "Task":
    """A task that outlives failed requests while they are few enough for its number to mean anything."""
    from inspect_ai import task_with

    allowed = int(max_unscored(wanted.task.metadata) * len(wanted.ids))
    return task_with(wanted.task, fail_on_error=float(allowed + 1))
