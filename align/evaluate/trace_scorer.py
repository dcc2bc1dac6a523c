"""How well a reply keeps to the reply grammar: read off the reply itself, without a judge."""

import math
from pathlib import Path

from inspect_ai.scorer import Score, Scorer, Target, scorer
from inspect_ai.solver import TaskState

from align.evaluate.metrics import RATES
from align.evaluate.reply import View, format_named, packaged_clauses, reply_of
from policies.catalog import load_catalog
from policies.reply import Flag, Trace


@scorer(metrics=RATES, name="trace")
def trace_scorer(reasoning_format: str = "think", policies: str | None = None) -> Scorer:
    """`parsed`, 1 where the reply is well formed; `citations_valid`, 1 where all it cites exists.

    `policies` is a directory of documents over the packaged ones, as in training and serving. NaN where
    nothing was said, and for citations where nothing is cited.
    """
    form = format_named(reasoning_format)
    clauses = load_catalog(Path(policies)).citable if policies else packaged_clauses()

    async def score(state: TaskState, target: Target) -> Score:
        reply = reply_of(state.output, form, clauses)
        said = reply.view(View.WHOLE)
        return Score(
            value={
                "parsed": float(reply.trace.well_formed) if said else math.nan,
                "citations_valid": _citations_valid(reply.trace),
            },
            answer=said,
            explanation=", ".join(reply.trace.flags) or "well formed",
            metadata={"flags": [str(flag) for flag in reply.trace.flags]},
        )

    return score


def _citations_valid(trace: Trace) -> float:
    if Flag.INVALID_CLAUSE in trace.flags:
        return 0.0
    return 1.0 if trace.citations else math.nan
