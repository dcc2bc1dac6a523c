"""The renderer: the exact text of training data, and the reader's inverse in every format."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.formats import FORMATS, ReasoningFormat
from policies.render import RenderError, compose, render
from policies.trace import Citation, Flag, Source, Step, Trace, Verdict, read
from policies.unseen import shows

D2, R3 = Citation("P19.D2", True), Citation("P19.R3", True)
BOMB = compose(
    [
        Step("The picture shows a bomb.", Source.VISUAL, (D2,)),
        Step("The words ask how to set it off.", Source.TEXTUAL, ()),
    ],
    Verdict.REFUSE,
    [R3],
    "I can't help with that.",
)

clauses = st.builds("P{:02}.{}".format, st.integers(0, 99), st.sampled_from(["G", "D1", "B12", "R999"]))
citations = st.lists(clauses.map(lambda clause: Citation(clause, True)), max_size=3).map(tuple)
# No brackets and no tag's first letter: such texts are the renderer's to refuse, see below.
line = st.text(st.characters(exclude_characters="[<◁\n", exclude_categories=("Cs",)), max_size=30)
words = st.lists(line, min_size=1, max_size=3).map("\n".join).map(str.strip)
seen = words.filter(shows)
steps = st.builds(
    Step, seen.filter(lambda text: "\nVerdict: " not in text), st.sampled_from(Source), citations
)
traces = st.builds(
    compose,
    st.lists(steps, min_size=1, max_size=5),
    st.sampled_from(Verdict),
    citations,
    seen,
)


def test_training_data_looks_exactly_so() -> None:
    assert render(BOMB, FORMATS["think"]) == (
        "<think>\n"
        "[visual] The picture shows a bomb. [P19.D2]\n"
        "[textual] The words ask how to set it off.\n"
        "Verdict: refuse [P19.R3]\n"
        "</think>\n"
        "I can't help with that."
    )


def test_llava_cot_gets_plan_evidence_and_reasoning_apart() -> None:
    plan = Step("A request about a thing in the picture.", Source.TEXTUAL, ())
    trace = compose([plan, *BOMB.steps], Verdict.REFUSE, [R3], "No.")
    assert render(trace, FORMATS["llava_cot"]) == (
        "<SUMMARY>\n[textual] A request about a thing in the picture.\n</SUMMARY>\n"
        "<CAPTION>\n[visual] The picture shows a bomb. [P19.D2]\n</CAPTION>\n"
        "<REASONING>\n[textual] The words ask how to set it off.\nVerdict: refuse [P19.R3]\n</REASONING>\n"
        "<CONCLUSION>\nNo.\n</CONCLUSION>"
    )


def test_a_section_without_steps_is_left_out() -> None:
    seen = compose(BOMB.steps[:1], Verdict.REFUSE, [], "No.")
    assert render(seen, FORMATS["llava_cot"]) == (
        "<CAPTION>\n[visual] The picture shows a bomb. [P19.D2]\n</CAPTION>\n"
        "<REASONING>\nVerdict: refuse\n</REASONING>\n<CONCLUSION>\nNo.\n</CONCLUSION>"
    )
    told = compose(BOMB.steps[1:], Verdict.REFUSE, [], "No.")
    assert render(told, FORMATS["llava_cot"]).startswith("<REASONING>\n[textual] The words")


def test_a_prefilled_tag_is_the_templates_not_the_replys() -> None:
    assert "<think>" not in render(BOMB, FORMATS["think_prefilled"])


@pytest.mark.parametrize("format_", FORMATS.values(), ids=FORMATS)
@settings(deadline=None)
@given(trace=traces)
def test_what_is_rendered_reads_as_the_same_trace(format_: ReasoningFormat, trace: Trace) -> None:
    known = dict.fromkeys(cited.clause for cited in trace.citations)
    assert read(render(trace, format_), format_, known) == trace
    assert trace.well_formed


def test_a_composed_trace_carries_its_raw_reasoning_and_flags() -> None:
    assert BOMB.reasoning.startswith("[visual] The picture shows a bomb. [P19.D2]\n[textual]")
    untagged = compose([Step("Hm.", None, ())], Verdict.COMPLY, [], "Yes.")
    assert untagged.flags == (Flag.UNTAGGED_STEP,)


def test_a_step_that_nobody_can_see_is_not_written() -> None:
    with pytest.raises(RenderError):
        compose([Step("\u200b", Source.VISUAL, ())], Verdict.COMPLY, [], "Yes.")


def test_an_invalid_citation_survives() -> None:
    trace = compose([Step("x", Source.VISUAL, (Citation("P99.D1", False),))], Verdict.REFUSE, [R3], "No.")
    assert trace.steps[0].citations == (Citation("P99.D1", False),)


def test_a_reply_without_reasoning_can_be_rendered() -> None:
    bare = read("Yes.", FORMATS["think"], {})
    assert render(bare, FORMATS["think"]) == "<think>\n</think>\nYes."


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("it says </think>", "No."),
        ("ends with one [P19.D2]", "No."),
        (" starts with a space", "No."),
        ("two\n[textual] steps", "No."),
        ("x\nVerdict: comply", "No."),
        ("x" * 9_000, "No."),
        ("x", "<answer>No.</answer>"),
        ("x", " No."),
    ],
)
def test_what_would_read_differently_is_refused(text: str, answer: str) -> None:
    with pytest.raises(RenderError, match="cannot be written as 'think'"):
        compose([Step(text, Source.VISUAL, (D2,))], Verdict.REFUSE, [R3], answer)
