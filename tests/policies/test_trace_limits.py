"""The reader's limits: long, hostile and endless reasoning stays bounded and linear."""

import tracemalloc
from collections.abc import Iterable

import pytest

from policies.formats import FORMATS
from policies.steps import MAX_CITATIONS, MAX_STEP_CHARS, MAX_STEPS
from policies.trace import (
    AnswerText,
    Event,
    Flag,
    ReasoningText,
    Source,
    Step,
    StepRead,
    Trace,
    TraceReader,
    Verdict,
    read,
)
from policies.trimming import MAX_BLANKS, MAX_TEXT_CHARS

KNOWN = dict.fromkeys(("P19.D2",))
THINK = FORMATS["think"]


def reasoned(reasoning: str, answer: str = "Fine.") -> Trace:
    return read(f"<think>\n{reasoning}\n</think>\n{answer}", THINK, KNOWN)


def told(pieces: Iterable[str]) -> tuple[list[Event], Trace]:
    reader = TraceReader(THINK, KNOWN)
    events = [event for piece in pieces for event in reader.feed(piece)]
    events += reader.close()
    return events, reader.trace


def answer_of(events: Iterable[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, AnswerText))


def test_an_overlong_step_is_cut_and_the_raw_reasoning_is_not() -> None:
    trace = reasoned(f"[visual] {'x' * (MAX_STEP_CHARS + 1)} [P19.D2]\nVerdict: comply")
    assert trace.steps == (Step("x" * MAX_STEP_CHARS, Source.VISUAL, ()),)
    assert trace.reasoning.endswith("x [P19.D2]\nVerdict: comply")
    assert trace.flags == (Flag.TRACE_TRUNCATED,)
    assert trace.verdict is Verdict.COMPLY


def test_a_step_of_just_the_cap_is_whole() -> None:
    assert reasoned(f"[visual] {'x' * MAX_STEP_CHARS}\n \nVerdict: comply").well_formed


def test_steps_beyond_the_cap_are_told_and_not_kept() -> None:
    events, trace = told(["<think>", *["[visual] x\n"] * (MAX_STEPS + 5), "Verdict: refuse</think>No."])
    assert sum(isinstance(event, StepRead) for event in events) == MAX_STEPS + 5
    assert len(trace.steps) == MAX_STEPS
    assert (trace.verdict, trace.answer, trace.flags) == (Verdict.REFUSE, "No.", (Flag.TRACE_TRUNCATED,))
    assert reasoned("[visual] x\n" * MAX_STEPS + "Verdict: refuse").well_formed


def test_citations_beyond_the_cap_are_not_kept() -> None:
    step = reasoned(f"[visual] x{' [P19.D2]' * (MAX_CITATIONS + 1)}\nVerdict: refuse")
    verdict = reasoned(f"[visual] x\nVerdict: refuse{' [P19.D2]' * (MAX_CITATIONS + 1)}")
    assert len(step.citations) == len(verdict.verdict_citations) == MAX_CITATIONS
    assert step.flags == verdict.flags == (Flag.TRACE_TRUNCATED,)
    assert reasoned(f"[visual] x\nVerdict: refuse{' [P19.D2]' * MAX_CITATIONS}").well_formed


def test_an_endless_answer_is_told_to_its_end_and_kept_up_to_the_cap() -> None:
    answer = "word " * (MAX_TEXT_CHARS // 4)
    events, trace = told(["<think>[visual] x\nVerdict: comply</think>", answer[:7], answer[7:], "end"])
    assert answer_of(events) == answer + "end"
    assert trace.answer == answer[:MAX_TEXT_CHARS].rstrip()
    assert trace.flags == (Flag.TRACE_TRUNCATED,)


def test_endless_reasoning_is_told_to_its_end_kept_up_to_the_cap_and_still_read() -> None:
    line = "[visual] " + "x" * 5_000 + "\n"
    count = MAX_TEXT_CHARS // len(line) + 2
    events, trace = told(["<think>", *[line] * count, "Verdict: comply</think>", "Yes."])
    reasoning = "".join(event.text for event in events if isinstance(event, ReasoningText))
    assert reasoning == line * count + "Verdict: comply"
    assert trace.reasoning == reasoning[:MAX_TEXT_CHARS]
    assert (len(trace.steps), trace.verdict, trace.answer) == (count, Verdict.COMPLY, "Yes.")
    assert trace.flags == (Flag.TRACE_TRUNCATED,)


def test_a_text_of_just_the_cap_is_whole() -> None:
    trace = reasoned("[visual] x\nVerdict: comply", "x" * MAX_TEXT_CHARS + " \n")
    assert (len(trace.answer), trace.flags) == (MAX_TEXT_CHARS, ())


@pytest.mark.parametrize("size", [1, 997, 10**6])
def test_blanks_between_words_are_told_however_many(size: int) -> None:
    answer = f"one{' ' * 5 * MAX_BLANKS}two"
    pieces = [answer[at : at + size] for at in range(0, len(answer), size)]
    events, trace = told(["<think>[visual] x\nVerdict: comply</think>", *pieces])
    assert answer_of(events) == trace.answer == answer
    assert trace.well_formed


@pytest.mark.parametrize("size", [1, 997, 10**6])
def test_blanks_at_the_end_are_not_in_the_trace_however_many(size: int) -> None:
    """Those that are too many to be held back are in the stream: a model caught in newlines is seen."""
    answer = f"one{chr(10) * 5 * MAX_BLANKS}"
    pieces = [answer[at : at + size] for at in range(0, len(answer), size)]
    events, trace = told(["<think>[visual] x\nVerdict: comply</think>", *pieces])
    assert answer_of(events) == "one" + "\n" * 4 * MAX_BLANKS
    assert (trace.answer, trace.flags) == ("one", ())


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "hostile",
    [
        *("x", " ", "<", "</thin", "[visual] ", "\n", "Verdict: ", "[P19.D1]", "[visual]\n", "[visual] x\n"),
        *("\u200b", "＜", "［", "[\u200b", "Vеrdict: refuse ", "\ud83d", "\ufffd"),
    ],
)
@pytest.mark.parametrize(("length", "size"), [(1 << 19, 7), (1 << 20, 1 << 20)])
def test_a_megabyte_of_anything_is_read_in_linear_time(hostile: str, length: int, size: int) -> None:
    """A quadratic reader would need hours; the timeout is the assertion."""
    reader = TraceReader(THINK, KNOWN)
    reader.feed("<think>")
    text = hostile * (length // len(hostile))
    for start in range(0, len(text), size):
        reader.feed(text[start : start + size])
    reader.close()
    assert reader.trace.answer == ""
    assert all(len(step.text) <= MAX_STEP_CHARS for step in reader.trace.steps)


def test_what_goes_beyond_the_caps_takes_no_memory() -> None:
    """The bench does this with noise, in every format, for longer."""
    reader = TraceReader(THINK, KNOWN)
    held = []
    tracemalloc.start()
    try:
        for opening, text in (("<think>", "[visual] x\n" * 20 + "x" * 4_000), ("</think>", "x" * 4_220)):
            reader.feed(opening)
            for _ in range(3):
                for _ in range(MAX_TEXT_CHARS // 4_000):
                    reader.feed(text)
                held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    first, second, third, fourth, fifth, sixth = held
    assert second - first < 10_000 > third - second
    assert fifth - fourth < 10_000 > sixth - fifth
