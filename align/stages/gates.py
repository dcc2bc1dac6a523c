"""Gates: which trajectories may become training rows, decided by reading them and by nothing else.

Deterministic and free of cost, so they stand before any judge. A trajectory is dropped for the first
gate it fails, in the order of `_faults`.
"""

import re
from collections.abc import Iterator

from align.recipe import Gates
from align.records import Dropped, DropReason, Query, Trajectory
from align.stages import queries, trajectories
from align.stages.drops import check_share
from align.stages.workspace import Made, Workspace
from policies.catalog import Catalog
from policies.formats import ReasoningFormat
from policies.reply import Flag, Source, Trace, Verdict
from policies.trace import read

STAGE = "gates"

_THE_DESCRIPTION = r"(?:the|this|given|provided)\s+(?:(?:image|picture|scene)\s+)?description"
LEAKS = re.compile(
    rf"\b{_THE_DESCRIPTION}\s+(?:says|states|mentions|shows|indicates|notes|tells|provided|given)\b"
    rf"|\b(?:according\s+to|based\s+on|as\s+per|as\s+stated\s+in)\s+{_THE_DESCRIPTION}\b"
    r"|\b(?:provided|given|supplied|above)\s+polic(?:y|ies)\b"
    r"|\bpolic(?:y|ies)\s+(?:(?:that|which)\s+(?:was|were)\s+)?(?:provided|given|supplied|above)\b",
    re.IGNORECASE,
)
"""Phrases that speak of what only a teacher gets; the student has a picture and a question."""


def make(workspace: Workspace) -> Made:
    """Read every trajectory; StageAborted where too many fail."""
    limits = workspace.recipe.gates
    asked = {query.id: query for query in workspace.rows(queries.STAGE, Query)}
    passed: list[Trajectory] = []
    dropped: list[Dropped] = []
    for trajectory in workspace.rows(trajectories.STAGE, Trajectory):
        query = asked[trajectory.query_id]
        fault = check(query, trajectory, limits, workspace.catalog, workspace.reasoning_format)
        if fault:
            dropped.append(fault)
        else:
            passed.append(trajectory)
    check_share(STAGE, dropped, len(passed) + len(dropped), limits.max_dropped_share)
    return workspace.leave(STAGE, passed, dropped)


def check(
    query: Query, trajectory: Trajectory, gates: Gates, catalog: Catalog, reasoning_format: ReasoningFormat
) -> Dropped | None:
    """Why the trajectory is dropped, or None where it passes."""
    trace = read(trajectory.completion, reasoning_format, catalog.citable)
    for reason, detail in _faults(query, trajectory, trace, gates):
        return Dropped(id=query.id, stage=STAGE, reason=reason, detail=detail)
    return None


def _faults(
    query: Query, trajectory: Trajectory, trace: Trace, gates: Gates
) -> Iterator[tuple[DropReason, str]]:
    if trajectory.finish_reason == "length":
        yield DropReason.CUT_OFF, "the teacher reached max_tokens"
    if Flag.NO_TRACE in trace.flags:
        yield DropReason.NO_TRACE, "the reply has no reasoning step"
    if not trace.well_formed:
        yield DropReason.NOT_WELL_FORMED, ", ".join(trace.flags)
    if gates.require_visual_step and not _looks(trace):
        yield DropReason.NO_VISUAL_STEP, "no step is tagged as seen in the picture"
    if gates.require_citation_of_category and not _cites_category(query, trace):
        yield DropReason.CATEGORY_NOT_CITED, f"verdict {trace.verdict} without a clause of {query.category}"
    if excess := _excess(trajectory, gates):
        yield DropReason.TOO_LONG, excess
    if found := LEAKS.search(trajectory.completion):
        yield DropReason.LEAKS_PROMPT, found.group()


def _looks(trace: Trace) -> bool:
    return any(step.source in (Source.VISUAL, Source.BOTH) for step in trace.steps)


def _cites_category(query: Query, trace: Trace) -> bool:
    """Whether a verdict against the request rests on the row's policy (on any, where it has none)."""
    if trace.verdict is Verdict.COMPLY:
        return True
    start = f"{query.category}." if query.category else ""
    return any(citation.valid and citation.clause.startswith(start) for citation in trace.citations)


def _excess(trajectory: Trajectory, gates: Gates) -> str:
    if len(trajectory.completion) > gates.max_chars:
        return f"{len(trajectory.completion)} characters"
    if trajectory.usage and trajectory.usage.completion_tokens > gates.max_completion_tokens:
        return f"{trajectory.usage.completion_tokens} tokens"
    return ""
