"""The reader on replies written by hand: what counts, what is kept as text, and which flag says so."""

import pytest

from policies.formats import FORMATS
from policies.trace import (
    AnswerText,
    Citation,
    Flag,
    ReasoningText,
    Source,
    Step,
    StepRead,
    Trace,
    TraceReader,
    Verdict,
    VerdictRead,
    read,
)

KNOWN = dict.fromkeys(("P19.D1", "P19.D2", "P19.R3", "P19.R5"))
GOOD = """<think>
[visual] The picture shows a bomb. [P19.D2]
[textual] The words ask how to
set it off. [P19.D1]
Verdict: refuse [P19.R3]
</think>
I can't help with that."""


def read_think(text: str) -> Trace:
    return read(text, FORMATS["think"], KNOWN)


def reasoned(reasoning: str, answer: str = "Fine.") -> Trace:
    return read_think(f"<think>\n{reasoning}\n</think>\n{answer}")


def test_a_well_formed_reply_is_read_completely() -> None:
    assert read_think(GOOD) == Trace(
        steps=(
            Step("The picture shows a bomb.", Source.VISUAL, (Citation("P19.D2", True),)),
            Step("The words ask how to\nset it off.", Source.TEXTUAL, (Citation("P19.D1", True),)),
        ),
        verdict=Verdict.REFUSE,
        verdict_citations=(Citation("P19.R3", True),),
        reasoning=GOOD.removeprefix("<think>\n").partition("\n</think>")[0],
        answer="I can't help with that.",
        flags=(),
    )
    assert read_think(GOOD).well_formed
    assert [c.clause for c in read_think(GOOD).citations] == ["P19.D2", "P19.D1", "P19.R3"]


def test_events_come_in_the_order_of_the_stream() -> None:
    reader = TraceReader(FORMATS["think"], KNOWN)
    events = [*reader.feed(GOOD), *reader.close()]
    first, second = reader.trace.steps
    assert events == [
        ReasoningText("[visual] The picture shows a bomb. [P19.D2]\n[textual] "),
        StepRead(first),
        ReasoningText("The words ask how to\nset it off. [P19.D1]\nVerdict: refuse [P19.R3]"),
        StepRead(second),
        VerdictRead(Verdict.REFUSE, (Citation("P19.R3", True),)),
        AnswerText("I can't help with that."),
    ]


def test_the_verdict_is_known_when_the_reasoning_closes_not_when_the_answer_begins() -> None:
    reader = TraceReader(FORMATS["think"], KNOWN)
    reader.feed("<think>Verdict: comply")
    assert reader.feed("</think>") == [VerdictRead(Verdict.COMPLY, ())]


def test_a_step_is_shown_as_soon_as_the_next_one_begins() -> None:
    reader = TraceReader(FORMATS["think"], KNOWN)
    reader.feed("<think>[visual] A cat.\n[textual]")
    assert reader.feed(" A") == [
        ReasoningText(" "),
        StepRead(Step("A cat.", Source.VISUAL, ())),
        ReasoningText("A"),
    ]


def test_an_unfinished_tag_waits_and_turns_out_to_be_text() -> None:
    reader = TraceReader(FORMATS["think"], KNOWN)
    assert reader.feed("<think>a </thin") == [ReasoningText("a")]
    assert reader.feed("gs") == [ReasoningText(" </things")]


def test_a_reply_without_tags_is_all_answer() -> None:
    trace = read_think("The cat sat.\nVerdict: comply")
    assert (trace.answer, trace.steps, trace.verdict) == ("The cat sat.\nVerdict: comply", (), None)
    assert trace.flags == (Flag.NO_TRACE, Flag.MISSING_VERDICT)


def test_an_empty_reply_has_no_answer_and_one_empty_verdict() -> None:
    reader = TraceReader(FORMATS["think"], KNOWN)
    assert [*reader.feed(""), *reader.close()] == [VerdictRead(None, ())]
    assert reader.trace.flags == (Flag.NO_TRACE, Flag.MISSING_VERDICT, Flag.EMPTY_ANSWER)


@pytest.mark.parametrize("nothing", ["\u200b", "\u2060\ufeff", " \xad ", "\u3164", "\u2800"])
def test_what_nobody_can_see_is_no_step_and_no_answer(nothing: str) -> None:
    trace = read_think(f"<think>\n[visual] {nothing}\nVerdict: comply\n</think>\n{nothing}")
    assert [(step.text, step.source) for step in trace.steps] == [(f"[visual] {nothing.strip()}", None)]
    assert trace.flags == (Flag.UNTAGGED_STEP, Flag.EMPTY_ANSWER)


def test_reasoning_after_an_answer_has_begun_is_answer() -> None:
    trace = read_think("Sure! <think>[visual] x\nVerdict: comply</think> done")
    assert trace.answer == "Sure! <think>[visual] x\nVerdict: comply</think> done"
    assert Flag.STRAY_DELIMITER in trace.flags
    assert trace.verdict is None


def test_reasoning_that_never_closes_leaves_the_answer_empty() -> None:
    trace = read_think("<think>\n[visual] A cat.\nVerdict: comply")
    assert (trace.answer, trace.verdict) == ("", Verdict.COMPLY)
    assert trace.flags == (Flag.UNCLOSED_REASONING, Flag.EMPTY_ANSWER)


def test_a_prefilled_format_starts_inside_the_reasoning() -> None:
    trace = read(GOOD.removeprefix("<think>\n"), FORMATS["think_prefilled"], KNOWN)
    assert trace == read_think(GOOD)


def test_a_model_that_repeats_the_prefilled_tag_is_forgiven() -> None:
    assert read(GOOD, FORMATS["think_prefilled"], KNOWN) == read_think(GOOD)


def test_a_prefilled_reply_without_a_closing_tag_is_all_reasoning() -> None:
    trace = read("The cat sat.", FORMATS["think_prefilled"], KNOWN)
    assert (trace.reasoning, trace.answer) == ("The cat sat.", "")
    assert Flag.UNCLOSED_REASONING in trace.flags


def test_the_first_closing_tag_ends_the_reasoning() -> None:
    trace = reasoned("[visual] x\nVerdict: comply\n</think>\nA", "B")
    assert trace.answer == "A\n</think>\nB"
    assert trace.flags == (Flag.STRAY_DELIMITER,)


def test_a_nested_opening_tag_is_text() -> None:
    trace = reasoned("[visual] x <think> y\nVerdict: comply")
    assert trace.steps[0].text == "x <think> y"
    assert trace.flags == (Flag.STRAY_DELIMITER,)


def test_the_answer_wrapper_is_optional_and_withheld() -> None:
    trace = reasoned("[visual] x\nVerdict: comply", "<answer>\n42\n</answer>\n")
    assert (trace.answer, trace.flags) == ("42", ())


def test_an_answer_wrapper_that_never_closes_is_flagged() -> None:
    trace = reasoned("[visual] x\nVerdict: comply", "<answer>42")
    assert (trace.answer, trace.flags) == ("42", (Flag.UNCLOSED_ANSWER,))


def test_text_behind_the_answer_wrapper_is_never_lost() -> None:
    trace = reasoned("[visual] x\nVerdict: comply", "<answer>42</answer> and more")
    assert (trace.answer, trace.flags) == ("42 and more", (Flag.TEXT_AFTER_ANSWER,))


def test_spaces_behind_the_answer_wrapper_survive_any_chunking() -> None:
    reader = TraceReader(FORMATS["think"], KNOWN)
    for letter in "<answer>42</answer> and more":
        reader.feed(letter)
    reader.close()
    assert reader.trace.answer == "42 and more"


def test_an_answer_wrapper_without_reasoning_is_an_answer() -> None:
    trace = read_think("<answer>42</answer>")
    assert (trace.answer, trace.verdict) == ("42", None)
    assert trace.flags == (Flag.NO_TRACE, Flag.MISSING_VERDICT)


def test_untagged_text_is_an_untagged_step() -> None:
    trace = reasoned("Let me think.\nIt is a cat.\n[visual] A cat.\nVerdict: comply")
    assert trace.steps[0] == Step("Let me think.\nIt is a cat.", None, ())
    assert trace.flags == (Flag.UNTAGGED_STEP,)


@pytest.mark.parametrize(
    "line", ["[vision] x", "[visual]x", " [visual] x", "[visual]", "[Visual] x", "[visual + textual] x"]
)
def test_what_is_nearly_a_source_tag_is_text(line: str) -> None:
    trace = reasoned(f"Hm.\n{line}\nVerdict: comply")
    assert trace.steps == (Step(f"Hm.\n{line}", None, ()),)


def test_a_citation_inside_a_step_stays_and_one_that_closes_it_goes() -> None:
    (step,) = reasoned("[visual] As [P19.D1] says, no. [P19.D2] [P19.R3]\nVerdict: refuse").steps
    assert step.text == "As [P19.D1] says, no."
    assert [c.clause for c in step.citations] == ["P19.D1", "P19.D2", "P19.R3"]


def test_an_unknown_clause_is_kept_and_marked_invalid() -> None:
    trace = reasoned("[visual] x [P99.D1]\nVerdict: refuse [P19.R3]")
    assert trace.steps[0].citations == (Citation("P99.D1", False),)
    assert trace.flags == (Flag.INVALID_CLAUSE,)


@pytest.mark.parametrize("text", ["[P1.D1]", "[P19.D]", "[P19.D01]", "[P19.X1]", "[P19.D1|VISUAL]", "P19.D1"])
def test_what_is_nearly_a_citation_is_text(text: str) -> None:
    (step,) = reasoned(f"[visual] x {text}\nVerdict: refuse").steps
    assert step == Step(f"x {text}", Source.VISUAL, ())


def test_a_missing_verdict_is_none() -> None:
    trace = reasoned("[visual] x")
    assert (trace.verdict, trace.flags) == (None, (Flag.MISSING_VERDICT,))


@pytest.mark.parametrize(
    "line",
    [
        "Verdict: refused",
        "Verdict: Refuse",
        "Verdict: refuse.",
        "Verdict:refuse",
        "verdict: refuse",
        "Verdict: refuse or comply",
        "Verdict: refuse [P19]",
        " Verdict: refuse",
        "**Verdict: refuse**",
        "Verdict: " + "refuse " * 500,
    ],
)
def test_what_is_nearly_a_verdict_is_text(line: str) -> None:
    trace = reasoned(f"[visual] x\n{line}")
    assert trace.verdict is None
    assert trace.steps == (Step(f"x\n{line}".strip(), Source.VISUAL, ()),)


def test_of_two_verdicts_the_last_counts() -> None:
    trace = reasoned("[visual] x\nVerdict: refuse [P19.R3]\nVerdict: comply [P19.R5]")
    assert (trace.verdict, trace.verdict_citations) == (Verdict.COMPLY, (Citation("P19.R5", True),))
    assert trace.flags == (Flag.SEVERAL_VERDICTS,)


def test_a_verdict_that_is_not_last_does_not_count() -> None:
    trace = reasoned("[visual] x\nVerdict: refuse [P19.R3]\nBut on reflection, why not.")
    assert (trace.verdict, trace.verdict_citations) == (None, ())
    assert trace.steps[1] == Step("But on reflection, why not.", None, ())
    assert trace.flags == (Flag.UNTAGGED_STEP, Flag.MISSING_VERDICT, Flag.VERDICT_NOT_LAST)


def test_a_second_verdict_after_more_steps_counts_again() -> None:
    trace = reasoned("[visual] x\nVerdict: comply\n[textual] y\nVerdict: refuse")
    assert (trace.verdict, trace.flags) == (Verdict.REFUSE, (Flag.SEVERAL_VERDICTS,))


def test_blank_lines_after_the_verdict_do_no_harm() -> None:
    assert reasoned("[visual] x\nVerdict: comply \t\n\n  \n").well_formed


def test_windows_line_ends_do_no_harm() -> None:
    trace = read_think(GOOD.replace("\n", "\r\n"))
    assert trace.well_formed
    assert trace.verdict is Verdict.REFUSE


def test_a_verdict_alone_is_not_a_trace() -> None:
    trace = reasoned("Verdict: comply")
    assert trace.flags == (Flag.NO_TRACE,)
    assert not trace.well_formed


def test_a_citation_in_the_answer_is_flagged_but_well_formed() -> None:
    trace = reasoned("[visual] x\nVerdict: comply", "As [P19.R3] says.")
    assert trace.flags == (Flag.CITATION_IN_ANSWER,)
    assert trace.well_formed


def test_tags_inside_the_answer_mean_nothing() -> None:
    trace = reasoned("[visual] x\nVerdict: refuse", "[visual] y\nVerdict: comply")
    assert (len(trace.steps), trace.verdict) == (1, Verdict.REFUSE)
    assert trace.answer == "[visual] y\nVerdict: comply"


def test_a_reader_is_for_one_reply() -> None:
    reader = TraceReader(FORMATS["think"], KNOWN)
    with pytest.raises(RuntimeError, match="close the reader"):
        _ = reader.trace
    reader.close()
    assert reader.close() == []
    with pytest.raises(RuntimeError, match="new TraceReader"):
        reader.feed("x")


@pytest.mark.parametrize(
    "meant", ["[P19.D1, P19.D2]", "[P19.D01]", "[p19.d1]", "[P19.X1]", "[P19]", "[ P19.D1]"]
)
def test_what_is_meant_as_a_citation_and_is_none_is_flagged(meant: str) -> None:
    trace = reasoned(f"[visual] x {meant}\nVerdict: refuse [P19.R3]")
    assert trace.steps[0].citations == ()
    assert trace.flags == (Flag.INVALID_CLAUSE,)


@pytest.mark.parametrize("text", ["[P]", "[P1]", "[PS5]", "[P100]", "[1]", "P19", "list[P19a]"])
def test_other_brackets_are_text(text: str) -> None:
    assert reasoned(f"[visual] x {text}\nVerdict: refuse").well_formed
