"""Gates: which trajectories are worth a judge's time, decided by reading them and by nothing else.

Deterministic and free of cost, so they stand before the scorer. A trajectory is dropped for the first
gate it fails, in the order of `_faults`.
"""

import re
from collections.abc import Iterator

from align.recipe_tables import Gates
from align.records import Dropped, DropReason, Trajectory, write_rows
from align.stages import trajectories
from align.stages.cases import cases
from align.stages.drops import check_share
from align.stages.workspace import DROPPED_FILE, Made, Workspace
from policies.catalog import Catalog
from policies.formats import ReasoningFormat
from policies.reply import Flag, Source, Trace, Verdict
from policies.trace import read

STAGE = "gates"

_PICTURE = r"(?:image|picture|photo|scene|visual)"
_GIVEN = r"(?:provided|given|supplied)"
_THE_DESCRIPTION = (
    rf"(?:(?:the|this|that)\s+(?:(?:{_PICTURE}|{_GIVEN}|above|written|text(?:ual)?)\s+){{0,3}}|{_GIVEN}\s+)"
    rf"description(?:\s+of\s+the\s+{_PICTURE})?"
)
_TELLS = r"(?:say|state|mention|show|indicate|note|tell|describe|depict|suggest|specif(?:y|ie)|read)"
_LEAKS = (
    rf"{_THE_DESCRIPTION}\s+(?:(?:also|only|clearly|explicitly)\s+)?{_TELLS}s",
    rf"{_THE_DESCRIPTION}\s+(?:does\s+not|doesn['\u2019]t|did\s+not|didn['\u2019]t)\s+{_TELLS}",
    rf"{_THE_DESCRIPTION}\s+(?:(?:that|which)\s+(?:is|was)\s+)?(?:{_GIVEN}|above)",
    rf"(?:according\s+to|based\s+(?:up)?on|judging\s+(?:by|from)|(?:as\s+)?per)\s+{_THE_DESCRIPTION}",
    rf"(?:as|is|are)\s+(?:stated|described|mentioned|noted|shown|given)\s+(?:in|by)\s+{_THE_DESCRIPTION}",
    rf"(?:the|this|that)\s+(?:{_PICTURE}\s+)?{_GIVEN}\s+(?:{_PICTURE}\s+)?description",
    rf"(?:{_GIVEN}|above)\s+polic(?:y|ies)",
    rf"polic(?:y|ies)\s+(?:(?:that|which)\s+(?:was|were)\s+)?(?:{_GIVEN}|above)",
)
BYTES_OF_A_TOKEN = 2
"""At least, on average: a server that counts more has counted thoughts that it did not hand out."""
LEAKS = re.compile(rf"\b(?:{'|'.join(_LEAKS)})\b", re.IGNORECASE)
"""Phrases that speak of what only a teacher gets; the student has a picture and a question.

A description that somebody asks for or writes is not "the" one, so articles and verbs tell them apart.
"""


def make(workspace: Workspace) -> Made:
    """Read every trajectory; StageAborted where too many fail."""
    limits = workspace.recipe.gates
    known = cases(workspace)
    passed: list[Trajectory] = []
    dropped: list[Dropped] = []
    for trajectory in workspace.rows(trajectories.STAGE, Trajectory):
        case = known[trajectory.query_id]
        fault = check(case.category, trajectory, limits, workspace.catalog, workspace.reasoning_format)
        if fault:
            dropped.append(fault)
        else:
            passed.append(trajectory)
    write_rows(workspace.folder(STAGE) / DROPPED_FILE, dropped)  # before the check: they tell what to mend
    key = f"{STAGE}.max_dropped_share"
    check_share(STAGE, dropped, len(passed) + len(dropped), limits.max_dropped_share, key)
    return workspace.leave(STAGE, passed, dropped)


def check(
    category: str | None,
    trajectory: Trajectory,
    gates: Gates,
    catalog: Catalog,
    reasoning_format: ReasoningFormat,
) -> Dropped | None:
    """Why the trajectory is dropped, or None where it passes; `category` is the policy that decides it."""
    trace = read(trajectory.completion, reasoning_format, catalog.citable)
    for reason, detail in _faults(category, trajectory, trace, gates):
        return Dropped(id=trajectory.id, stage=STAGE, reason=reason, detail=detail)
    return None


def _faults(
    category: str | None, trajectory: Trajectory, trace: Trace, gates: Gates
) -> Iterator[tuple[DropReason, str]]:
    if trajectory.finish_reason == "length":
        yield DropReason.CUT_OFF, "the teacher reached max_tokens"
    if Flag.NO_TRACE in trace.flags or all(step.source is None for step in trace.steps):
        yield DropReason.NO_TRACE, f"no tagged step: {trajectory.completion[:120]}"
    if foreign := _foreign(trace, gates.language):
        yield DropReason.WRONG_LANGUAGE, foreign
    if not trace.well_formed:
        yield DropReason.NOT_WELL_FORMED, ", ".join(trace.flags)
    if gates.require_visual_step and not _looks(trace):
        yield DropReason.NO_VISUAL_STEP, "no step is tagged as seen in the picture"
    if gates.require_citation_of_category and not _cites_category(category, trace):
        yield DropReason.CATEGORY_NOT_CITED, f"verdict {trace.verdict} without a clause of {category}"
    if len(trajectory.completion) < gates.min_chars:
        yield DropReason.TOO_SHORT, f"{len(trajectory.completion)} characters"
    if excess := _excess(trajectory, gates):
        yield DropReason.TOO_LONG, excess
    if found := LEAKS.search(trajectory.completion):
        yield DropReason.LEAKS_PROMPT, found.group()


def _foreign(trace: Trace, wanted: str) -> str:
    """The language that the reply is in instead of the wanted one."""
    if wanted == "any":
        return ""
    from py3langid import classify  # reads its model on the first call

    found = classify(" ".join([*(step.text for step in trace.steps), trace.answer]))[0]
    return "" if found == wanted else f"the reply reads as {found}, not as {wanted}"


def _looks(trace: Trace) -> bool:
    return any(step.source in (Source.VISUAL, Source.BOTH) for step in trace.steps)


def _cites_category(category: str | None, trace: Trace) -> bool:
    """Whether a verdict against the request rests on the row's policy (on any, where it has none)."""
    if trace.verdict is Verdict.COMPLY:
        return True
    start = f"{category}." if category else ""
    return any(citation.valid and citation.clause.startswith(start) for citation in trace.citations)


def _excess(trajectory: Trajectory, gates: Gates) -> str:
    if len(trajectory.completion) > gates.max_chars:
        return f"{len(trajectory.completion)} characters"
    tokens = trajectory.usage.completion_tokens if trajectory.usage else 0
    if gates.max_completion_tokens < tokens <= len(trajectory.completion.encode()) // BYTES_OF_A_TOKEN:
        return f"{tokens} tokens"
    return ""
