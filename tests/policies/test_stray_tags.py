"""Tags out of their place, in every format: the first of each counts, and the rest is flagged text."""

import pytest

from policies.formats import FORMATS, ReasoningFormat
from policies.steps import MAX_STEP_CHARS
from policies.trace import Flag, Source, Trace, TraceReader, Verdict, read

STEPS = "[visual] A cat.\nVerdict: comply"
each_format = pytest.mark.parametrize("format_", FORMATS.values(), ids=FORMATS)
wrapping = [format_ for format_ in FORMATS.values() if format_.answer]


def reply(format_: ReasoningFormat, reasoning: str, answer: str) -> str:
    """All of the reasoning in the last section."""
    section = format_.reasoning[-1]
    opening = "" if format_.prefilled else section.opening
    return f"{opening}{reasoning}\n{section.closing}\n{answer}"


def read_as(name: str, text: str) -> Trace:
    return read(text, FORMATS[name], {})


@each_format
def test_the_reasoning_closes_once_and_what_follows_is_answer(format_: ReasoningFormat) -> None:
    closing = format_.reasoning[-1].closing
    again = f"Yes.\n{closing}\n[textual] y\nVerdict: refuse\n{closing}"
    trace = read(reply(format_, STEPS, again), format_, {})
    assert (len(trace.steps), trace.verdict, trace.answer) == (1, Verdict.COMPLY, again)
    assert trace.flags == (Flag.STRAY_DELIMITER,)


@each_format
def test_reasoning_opened_again_in_the_answer_is_answer(format_: ReasoningFormat) -> None:
    again = f"Yes.{reply(format_, '[textual] y', 'No.')}".replace("[textual]", format_.reasoning[-1].opening)
    trace = read(reply(format_, STEPS, again), format_, {})
    assert (len(trace.steps), trace.verdict, trace.answer) == (1, Verdict.COMPLY, again)
    assert trace.flags == (Flag.STRAY_DELIMITER,)


@each_format
def test_reasoning_opened_twice_is_opened_once(format_: ReasoningFormat) -> None:
    opening = format_.reasoning[-1].opening
    trace = read(reply(format_, f"[visual] x {opening}{opening}y\nVerdict: comply", "Yes."), format_, {})
    assert trace.steps[0].text == f"x {opening}{opening}y"
    assert (trace.answer, trace.flags) == ("Yes.", (Flag.STRAY_DELIMITER,))


@each_format
def test_a_nested_pair_ends_at_its_first_closing_tag(format_: ReasoningFormat) -> None:
    section = format_.reasoning[-1]
    nested = f"[visual] x {section.opening} y\nVerdict: comply {section.closing}Yes.{section.closing} Sure."
    trace = read(reply(format_, nested, "Done."), format_, {})
    assert trace.answer == f"Yes.{section.closing} Sure.\n{section.closing}\nDone."
    assert (trace.verdict, trace.flags) == (Verdict.COMPLY, (Flag.STRAY_DELIMITER,))


@each_format
def test_reasoning_that_never_closes_has_no_answer(format_: ReasoningFormat) -> None:
    text = reply(format_, STEPS, "").partition(format_.reasoning[-1].closing)[0]
    trace = read(text, format_, {})
    assert (trace.verdict, trace.answer) == (Verdict.COMPLY, "")
    assert trace.flags == (Flag.UNCLOSED_REASONING, Flag.EMPTY_ANSWER)


@each_format
def test_of_two_verdicts_the_last_counts_in_every_format(format_: ReasoningFormat) -> None:
    trace = read(reply(format_, f"{STEPS}\nVerdict: refuse", "No."), format_, {})
    assert (trace.verdict, trace.flags) == (Verdict.REFUSE, (Flag.SEVERAL_VERDICTS,))


@each_format
def test_a_citation_in_the_answer_is_told_in_every_format(format_: ReasoningFormat) -> None:
    trace = read(reply(format_, STEPS, "See [P19.R3]."), format_, {})
    assert (trace.citations, trace.flags) == ((), (Flag.CITATION_IN_ANSWER,))
    assert trace.well_formed


@each_format
def test_a_megabyte_without_a_newline_is_one_cut_step_and_one_answer(format_: ReasoningFormat) -> None:
    long = "word " * 200_000
    reader = TraceReader(format_, {})
    reader.feed(reply(format_, f"[visual] {long}\nVerdict: comply", long))
    reader.close()
    assert len(reader.trace.steps[0].text) <= MAX_STEP_CHARS
    assert (reader.trace.verdict, reader.trace.answer) == (Verdict.COMPLY, long.strip())
    assert reader.trace.flags == (Flag.TRACE_TRUNCATED,)


@pytest.mark.parametrize("format_", wrapping, ids=lambda format_: format_.name)
def test_a_second_answer_is_part_of_the_first(format_: ReasoningFormat) -> None:
    assert format_.answer
    opening, closing = format_.answer.opening, format_.answer.closing
    trace = read(reply(format_, STEPS, f"{opening}One.{closing}{opening}Two.{closing}"), format_, {})
    assert trace.answer == f"One.{opening}Two.{closing}"
    assert trace.flags == (Flag.STRAY_DELIMITER, Flag.TEXT_AFTER_ANSWER)


@pytest.mark.parametrize("format_", wrapping, ids=lambda format_: format_.name)
def test_a_nested_answer_ends_at_its_first_closing_tag(format_: ReasoningFormat) -> None:
    assert format_.answer
    opening, closing = format_.answer.opening, format_.answer.closing
    trace = read(reply(format_, STEPS, f"{opening}One {opening}two{closing} three{closing}"), format_, {})
    assert trace.answer == f"One {opening}two three{closing}"
    assert trace.flags == (Flag.STRAY_DELIMITER, Flag.TEXT_AFTER_ANSWER)


@pytest.mark.parametrize("format_", wrapping, ids=lambda format_: format_.name)
def test_an_answer_opened_inside_the_reasoning_is_reasoning(format_: ReasoningFormat) -> None:
    assert format_.answer
    text = f"x {format_.answer.opening} y"
    trace = read(reply(format_, f"[visual] {text}\nVerdict: comply", "No."), format_, {})
    assert (trace.steps[0].text, trace.answer) == (text, "No.")
    assert trace.flags == (Flag.STRAY_DELIMITER,)


@pytest.mark.parametrize("blank", ["", " ", "\n", "\r\n\t \u00a0\n"])
def test_a_prefilled_tag_may_be_repeated_behind_blanks(blank: str) -> None:
    trace = read_as("think_prefilled", f"{blank}<think>{blank}{STEPS}</think>Yes.")
    assert (trace.verdict, trace.answer, trace.flags) == (Verdict.COMPLY, "Yes.", ())


def test_a_prefilled_tag_is_forgiven_once() -> None:
    trace = read_as("think_prefilled", f"<think><think>{STEPS}</think>Yes.")
    assert trace.flags == (Flag.STRAY_DELIMITER, Flag.UNTAGGED_STEP)
    assert trace.steps[0].text == "<think>[visual] A cat."


@pytest.mark.parametrize("tag", ["</think>", "</think><answer>"])
def test_a_prefilled_tag_is_not_forgiven_once_the_reasoning_is_over(tag: str) -> None:
    trace = read_as("think_prefilled", f"{tag}<think>{STEPS}")
    assert trace.answer == f"<think>{STEPS}"
    assert Flag.STRAY_DELIMITER in trace.flags


def test_llava_sections_may_be_repeated_and_are_flagged() -> None:
    trace = read_as(
        "llava_cot",
        "<SUMMARY>[textual] One.</SUMMARY><SUMMARY>[textual] Two.</SUMMARY>"
        f"<REASONING>{STEPS}</REASONING><CONCLUSION>Yes.</CONCLUSION>",
    )
    assert [step.text for step in trace.steps] == ["One.", "Two.", "A cat."]
    assert (trace.answer, trace.flags) == ("Yes.", (Flag.STRAY_DELIMITER,))


def test_a_llava_section_after_the_reasoning_is_answer() -> None:
    text = "<CAPTION>[visual] y\nVerdict: refuse</CAPTION>"
    trace = read_as("llava_cot", f"<REASONING>{STEPS}</REASONING>{text}")
    assert (trace.verdict, trace.answer, trace.flags) == (Verdict.COMPLY, text, (Flag.STRAY_DELIMITER,))


def test_a_llava_section_inside_another_is_text_and_so_is_a_foreign_closing_tag() -> None:
    inside = "[visual] x <CAPTION> y </SUMMARY> z"
    trace = read_as("llava_cot", f"<REASONING>{inside}\nVerdict: comply</REASONING>Yes.")
    assert (trace.steps[0].text, trace.answer) == ("x <CAPTION> y </SUMMARY> z", "Yes.")
    assert trace.flags == (Flag.STRAY_DELIMITER,)


def test_a_llava_closing_tag_without_its_section_begins_a_bare_answer() -> None:
    trace = read_as("llava_cot", f"</SUMMARY><REASONING>{STEPS}</REASONING>")
    assert (trace.steps, trace.verdict) == ((), None)
    assert trace.answer == f"</SUMMARY><REASONING>{STEPS}</REASONING>"


def test_box_marks_around_an_answer_without_reasoning_are_withheld_both() -> None:
    trace = read_as("glm_box", "<|begin_of_box|>It sits.<|end_of_box|>")
    assert (trace.answer, trace.flags) == ("It sits.", (Flag.NO_TRACE, Flag.MISSING_VERDICT))


def test_reasoning_behind_a_box_mark_is_answer() -> None:
    trace = read_as("glm_box", f"<|begin_of_box|><think>{STEPS}</think>Yes.")
    assert (trace.verdict, trace.answer) == (None, f"<think>{STEPS}</think>Yes.")
    assert Flag.STRAY_DELIMITER in trace.flags


def test_a_source_tag_without_text_is_text() -> None:
    trace = read_as("think", "<think>[visual] A cat.\n[textual] \n \n[visual] It sits.</think>Yes.")
    assert [(step.text, step.source) for step in trace.steps] == [
        ("A cat.", Source.VISUAL),
        ("[textual]", None),
        ("It sits.", Source.VISUAL),
    ]
    assert trace.flags == (Flag.UNTAGGED_STEP, Flag.MISSING_VERDICT)


def test_a_source_tag_that_ends_the_reasoning_is_text() -> None:
    trace = read_as("think", "<think>[visual] A cat.\n[textual] \n</think>Yes.")
    assert [step.text for step in trace.steps] == ["A cat.\n[textual]"]
