"""One turn: the model gets picture and question, and what it writes is its reply.

Greedy, because a rate should not depend on luck; `benchmark` is the task around it.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence

from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import GenerateConfig
from inspect_ai.scorer import Scorer
from inspect_ai.solver import Generate, Solver, TaskState, solver

from align.evaluate.benchmarks import MAX_UNSCORED
from align.evaluate.judges.panel import ROLE
from align.evaluate.samples import FAULT

MAX_TOKENS = 4096
"""R1-Onevision's own; LLaVA-CoT's is 2048. A lower one cuts replies off before their answers."""


@solver
def asked() -> Solver:
    """Ask, once; a sample that cannot be asked is left without a reply."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        if FAULT in state.metadata:
            state.completed = True
            return state
        return await generate(state, tool_calls="none")

    return solve


def benchmark(
    samples: Iterable[Sample],
    scorers: Sequence[Scorer],
    *,
    max_tokens: int = MAX_TOKENS,
    judged: bool = True,
    reading: int = 1,
) -> Task:
    """A task over samples that are asked once; `judged` where its scorers need the model role `grader`.

    Its version is a digest of what is asked and of `reading`, which whoever changes a scorer counts up: so
    replies and marks of other questions, or by another reading, are never taken for these.
    """
    found = list(samples)
    return Task(
        dataset=MemoryDataset(found),
        version=f"{_digest(found)}-{reading}",
        solver=asked(),
        scorer=list(scorers),
        config=GenerateConfig(temperature=0.0, max_tokens=max_tokens),
        metadata={"max_unscored": MAX_UNSCORED, "judges": [ROLE] if judged else []},
    )


def _digest(samples: Iterable[Sample]) -> str:
    """12 hex digits of the SHA-256 over all that is asked, and of the right answers."""
    digest = hashlib.sha256()
    for sample in samples:
        asked = sample.input if isinstance(sample.input, list) else [sample.input]
        said = [one if isinstance(one, str) else one.model_dump(include={"role", "content"}) for one in asked]
        known = [sample.id, said, sample.target, sample.metadata]
        digest.update(json.dumps(known, sort_keys=True, default=str).encode())
    return digest.hexdigest()[:12]
