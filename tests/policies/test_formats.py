"""Every reasoning format: the same reply in each spelling, and each format's own ways to go wrong."""

import pytest

from policies.formats import FORMATS, ReasoningFormat
from policies.trace import Flag, Source, Step, Trace, Verdict, read

STEPS = "[visual] A cat.\nVerdict: comply"


def read_as(name: str, text: str) -> Trace:
    return read(text, FORMATS[name], {})


@pytest.mark.parametrize("format_", FORMATS.values(), ids=FORMATS)
def test_no_tag_is_part_of_another(format_: ReasoningFormat) -> None:
    tags = format_.delimiters
    assert not [(a, b) for a in tags for b in tags if a != b and a in b]
    assert len(set(tags)) == len(tags)
    assert not any(character in tag for tag in tags for character in "[]")


def test_a_format_is_found_by_the_name_a_manifest_carries() -> None:
    assert set(FORMATS) == {
        "think",
        "think_prefilled",
        "llava_cot",
        "kimi_triangle",
        "glm_box",
        "gemma_channel",
    }
    assert all(format_.name == name for name, format_ in FORMATS.items())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("think", f"<think>{STEPS}</think>It sits."),
        ("think", f"\n <think>\n{STEPS}\n</think>\n\n<answer>It sits.</answer>"),
        ("think_prefilled", f"{STEPS}\n</think>\n\nIt sits."),
        ("llava_cot", f"<REASONING> {STEPS} </REASONING> <CONCLUSION> It sits. </CONCLUSION>"),
        ("kimi_triangle", f"◁think▷{STEPS}◁/think▷It sits."),
        ("glm_box", f"<think>{STEPS}</think><answer><|begin_of_box|>It sits.<|end_of_box|></answer>"),
        ("glm_box", f"<think>{STEPS}</think><|begin_of_box|>It sits.<|end_of_box|>"),
        ("gemma_channel", f"<|channel>thought\n{STEPS}<channel|>It sits."),
    ],
)
def test_each_spelling_gives_the_same_trace(name: str, text: str) -> None:
    assert read_as(name, text) == Trace(
        (Step("A cat.", Source.VISUAL, ()),), Verdict.COMPLY, (), STEPS, "It sits.", ()
    )


def test_llava_cot_reasons_in_three_sections() -> None:
    trace = read_as(
        "llava_cot",
        "<SUMMARY>[textual] Asks.</SUMMARY><CAPTION>[visual] A cat.</CAPTION>\n\n"
        "<REASONING>[visual+textual] Fine.\nVerdict: comply</REASONING><CONCLUSION>Yes.</CONCLUSION>",
    )
    assert [step.text for step in trace.steps] == ["Asks.", "A cat.", "Fine."]
    assert trace.reasoning == ("[textual] Asks.\n[visual] A cat.\n[visual+textual] Fine.\nVerdict: comply")
    assert trace.well_formed


def test_the_end_of_a_section_ends_its_step() -> None:
    trace = read_as(
        "llava_cot", "<SUMMARY>One.</SUMMARY><CAPTION>Two.</CAPTION><REASONING>Three.</REASONING>Yes."
    )
    assert [step.text for step in trace.steps] == ["One.", "Two.", "Three."]
    assert trace.answer == "Yes."


def test_text_between_sections_is_reasoning() -> None:
    trace = read_as("llava_cot", "<SUMMARY>One.</SUMMARY> Sure! <REASONING>Two.</REASONING>Yes.")
    assert [step.text for step in trace.steps] == ["One.", "Sure! Two."]


def test_a_conclusion_may_follow_any_section() -> None:
    trace = read_as("llava_cot", f"<SUMMARY>{STEPS}</SUMMARY><CONCLUSION>Yes.</CONCLUSION>")
    assert (trace.answer, trace.flags) == ("Yes.", ())


def test_a_section_out_of_order_is_read_and_flagged() -> None:
    trace = read_as("llava_cot", f"<CAPTION>{STEPS}</CAPTION><SUMMARY>[textual] y</SUMMARY><CONCLUSION>Yes.")
    assert [step.text for step in trace.steps] == ["A cat.", "y"]
    assert Flag.STRAY_DELIMITER in trace.flags
    assert Flag.VERDICT_NOT_LAST in trace.flags
    assert Flag.UNCLOSED_ANSWER in trace.flags


@pytest.mark.parametrize(
    "text", ["<SUMMARY>One.", "<SUMMARY>One.</SUMMARY> and", "<SUMMARY>One.<CONCLUSION>Yes."]
)
def test_without_an_open_conclusion_there_is_no_answer(text: str) -> None:
    trace = read_as("llava_cot", text)
    assert trace.answer == ""
    assert Flag.UNCLOSED_REASONING in trace.flags


@pytest.mark.parametrize("name", sorted(set(FORMATS) - {"think_prefilled"}))
def test_without_any_tag_everything_is_answer(name: str) -> None:
    trace = read_as(name, " It sits. ")
    assert (trace.answer, trace.flags) == ("It sits.", (Flag.NO_TRACE, Flag.MISSING_VERDICT))


def test_box_marks_inside_the_reasoning_are_text() -> None:
    trace = read_as("glm_box", "<think>[visual] <|begin_of_box|>\nVerdict: comply</think>Yes.")
    assert (trace.steps[0].text, trace.flags) == ("<|begin_of_box|>", (Flag.STRAY_DELIMITER,))
