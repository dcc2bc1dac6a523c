"""A verdict that cites a clause which demands another verdict contradicts itself."""

import pytest

from policies.catalog import load_catalog
from policies.formats import THINK
from policies.render import compose, render
from policies.trace import (
    Citation,
    Clauses,
    Flag,
    Source,
    Step,
    Trace,
    TraceReader,
    Verdict,
    VerdictRead,
    read,
)

CLAUSES: Clauses = {
    "P19.D1": None,
    "P19.B1": Verdict.COMPLY,
    "P19.R2": None,
    "P19.R3": Verdict.REFUSE,
    "P19.R4": Verdict.SAFE_COMPLETE,
    "P19.R5": Verdict.COMPLY,
}


def reasoned(reasoning: str, clauses: Clauses = CLAUSES) -> Trace:
    return read(f"<think>\n[visual] x\n{reasoning}\n</think>\nFine.", THINK, clauses)


@pytest.mark.parametrize(
    "line",
    [
        "Verdict: comply [P19.R3]",
        "Verdict: comply [P19.R4]",
        "Verdict: refuse [P19.R5]",
        "Verdict: refuse [P19.B1]",
        "Verdict: refuse [P19.R3] [P19.R5]",
        "Verdict: safe_complete [P19.D1] [P19.R3]",
    ],
)
def test_a_verdict_against_the_clause_it_cites_is_flagged(line: str) -> None:
    trace = reasoned(line)
    assert trace.flags == (Flag.CONTRADICTED_VERDICT,)
    assert not trace.well_formed


@pytest.mark.parametrize(
    "line",
    [
        "Verdict: refuse [P19.R3]",
        "Verdict: comply [P19.R5] [P19.B1]",
        "Verdict: refuse [P19.D1] [P19.R2]",
        "Verdict: comply",
    ],
)
def test_a_verdict_as_its_clauses_demand_is_well_formed(line: str) -> None:
    assert reasoned(line).well_formed


def test_the_verdict_is_given_as_the_model_wrote_it() -> None:
    trace = reasoned("Verdict: comply [P19.R3]")
    assert trace.verdict is Verdict.COMPLY
    assert trace.verdict_citations == (Citation("P19.R3", True),)


def test_a_step_may_weigh_a_clause_that_demands_another_verdict() -> None:
    assert reasoned("[textual] It is no look-alike. [P19.B1] [P19.R5]\nVerdict: refuse [P19.R3]").well_formed


def test_only_the_verdict_that_counts_can_be_contradicted() -> None:
    trace = reasoned("Verdict: comply [P19.R3]\nVerdict: refuse [P19.R3]")
    assert trace.flags == (Flag.SEVERAL_VERDICTS,)
    gone = reasoned("Verdict: comply [P19.R3]\n[textual] But on reflection.")
    assert gone.flags == (Flag.MISSING_VERDICT, Flag.VERDICT_NOT_LAST)


def test_a_clause_that_may_not_be_cited_demands_nothing() -> None:
    assert reasoned("Verdict: comply [P19.R3]", {}).flags == (Flag.INVALID_CLAUSE,)


def test_every_clause_of_the_catalog_is_held_to_what_it_demands() -> None:
    citable = load_catalog().citable
    assert {demanded for demanded in citable.values() if demanded} == set(Verdict)
    for clause, demanded in citable.items():
        for verdict in Verdict:
            trace = reasoned(f"Verdict: {verdict} [{clause}]", citable)
            assert (Flag.CONTRADICTED_VERDICT in trace.flags) == (demanded not in (None, verdict))


def test_the_contradiction_is_known_once_the_reasoning_is_over() -> None:
    reader = TraceReader(THINK, CLAUSES)
    events = reader.feed("<think>\n[visual] x\nVerdict: comply [P19.R3]\n</think>")
    assert events[-1] == VerdictRead(Verdict.COMPLY, (Citation("P19.R3", True),))
    reader.close()
    assert Flag.CONTRADICTED_VERDICT in reader.trace.flags


def test_a_contradicted_trace_can_be_written_and_read_again() -> None:
    trace = reasoned("Verdict: comply [P19.R3]")
    assert read(render(trace, THINK), THINK, CLAUSES) == trace


def test_a_composed_trace_knows_no_demands_but_reading_it_with_the_catalog_tells() -> None:
    made = compose([Step("x", Source.VISUAL, ())], Verdict.COMPLY, [Citation("P19.R3", True)], "Fine.")
    assert made.flags == ()
    assert read(render(made, THINK), THINK, CLAUSES).flags == (Flag.CONTRADICTED_VERDICT,)
