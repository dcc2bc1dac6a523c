"""The reader's limits: long, hostile and endless reasoning stays bounded and linear."""

import pytest

from policies.formats import FORMATS
from policies.steps import MAX_STEP_CHARS
from policies.trace import Flag, Source, Step, Trace, TraceReader, Verdict, read

KNOWN = dict.fromkeys(("P19.D2",))


def reasoned(reasoning: str) -> Trace:
    return read(f"<think>\n{reasoning}\n</think>\nFine.", FORMATS["think"], KNOWN)


def test_an_overlong_step_is_cut_and_the_raw_reasoning_is_not() -> None:
    trace = reasoned(f"[visual] {'x' * (MAX_STEP_CHARS + 1)} [P19.D2]\nVerdict: comply")
    assert trace.steps == (Step("x" * MAX_STEP_CHARS, Source.VISUAL, ()),)
    assert trace.reasoning.endswith("x [P19.D2]\nVerdict: comply")
    assert trace.flags == (Flag.TRACE_TRUNCATED,)
    assert trace.verdict is Verdict.COMPLY


def test_a_step_of_just_the_cap_is_whole() -> None:
    assert reasoned(f"[visual] {'x' * MAX_STEP_CHARS}\n \nVerdict: comply").well_formed


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "hostile", ["x", " ", "<", "</thin", "[visual] ", "\n", "Verdict: ", "[P19.D1]", "[visual]\n"]
)
@pytest.mark.parametrize(("length", "size"), [(1 << 17, 1), (1 << 20, 1 << 20)])
def test_a_megabyte_of_anything_is_read_in_linear_time(hostile: str, length: int, size: int) -> None:
    """A quadratic reader would need hours; the timeout is the assertion."""
    reader = TraceReader(FORMATS["think"], KNOWN)
    reader.feed("<think>")
    text = hostile * (length // len(hostile))
    for start in range(0, len(text), size):
        reader.feed(text[start : start + size])
    reader.close()
    assert reader.trace.answer == ""
    assert all(len(step.text) <= MAX_STEP_CHARS for step in reader.trace.steps)
