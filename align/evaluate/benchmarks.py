"""From a benchmark's name in a recipe to the harness's task, or to one clear line about what is wrong.

Knows nothing of models; nothing is asked here.
"""

import importlib
import inspect
import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from align.errors import RecipeError
from align.evaluate import tasks as packaged
from align.evaluate.contradictions import unknown
from align.evaluate.recipe import Benchmark

if TYPE_CHECKING:
    from inspect_ai import Task


class NothingToJudge(RecipeError):
    """Replies that another task judges anew, and none of them is its business: a result, not a fault."""


POLICIES = "policies"
"""The parameter of tasks that takes a directory of policy documents."""
MAX_UNSCORED = 0.1
"""Share of unscored samples beyond which a number is not reported, where a task says nothing else."""


def task_of(benchmark: Benchmark) -> "Task":
    """The task with the recipe's parameters; RecipeError if there is no such task or parameter."""
    make = maker(benchmark)
    task: Task = make(**benchmark.parameters)
    if not len(task.dataset):
        raise RecipeError(f"benchmarks.{benchmark.task}: the task holds no samples")
    return task


def under(benchmark: Benchmark, documents: Path | None) -> Benchmark:
    """The benchmark under a team's own policy documents, if its task takes any.

    RecipeError where it names some itself: the recipe's hold for all, since logs lie under their digest and
    models are served with them.
    """
    where = f"benchmarks.{benchmark.task}.parameters.{POLICIES}"
    if POLICIES in benchmark.parameters:
        raise RecipeError(f"{where}: say it once for the whole recipe, as policy_documents")
    if documents is None or POLICIES not in inspect.signature(maker(benchmark)).parameters:
        return benchmark
    given = benchmark.parameters | {POLICIES: str(documents)}
    return benchmark.model_copy(update={"parameters": given})


def maker(benchmark: Benchmark) -> Callable[..., "Task"]:
    """What makes the task of its parameters, which are those that the recipe gives."""
    make: Callable[..., Task] = getattr(_module(benchmark), benchmark.task)
    known = inspect.signature(make).parameters
    for name in benchmark.parameters:
        if name not in known:
            raise RecipeError(f"benchmarks.{benchmark.task}.parameters: {unknown('parameter', name, known)}")
    return make


def max_unscored(metadata: dict[str, Any] | None) -> float:
    """What a task allows."""
    return float((metadata or {}).get("max_unscored", MAX_UNSCORED))


def judges_needed(task: "Task") -> tuple[str, ...]:
    """The roles without which the task cannot be scored."""
    return tuple((task.metadata or {}).get("judges", ()))


def _module(benchmark: Benchmark) -> ModuleType:
    known = _known(benchmark.file or Path(packaged.__path__[0]))
    if benchmark.task not in known:
        raise RecipeError(f"benchmarks: {unknown('task', benchmark.task, known)}")
    file = known[benchmark.task]
    if benchmark.file is None:
        return importlib.import_module(f"{packaged.__name__}.{file.stem}")
    return _loaded(file)


def _known(place: Path) -> dict[str, Path]:
    """The tasks of a file or folder, by name; they are read, not run."""
    from inspect_ai import list_tasks

    if not place.exists():
        raise RecipeError(f"benchmarks: {place}: there is no such file")
    folder, pattern = (place, "*.py") if place.is_dir() else (place.parent, place.name)
    return {task.name: Path(task.file) for task in list_tasks(pattern, absolute=True, root_dir=folder)}


def _loaded(file: Path) -> ModuleType:
    name = f"align_evaluate_task_{file.stem}"
    spec = spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None  # noqa: PT018  # a .py file always has both
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
