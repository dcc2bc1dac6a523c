"""Renderer and reader are inverses, in every format, for texts full of what the reader looks for."""

import re

import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from policies.formats import FORMATS, ReasoningFormat
from policies.look_alikes import ALIKE
from policies.render import RenderError, render
from policies.reply import CITATION, TOLERATED_FLAGS
from policies.trace import Citation, Source, Step, Trace, TraceReader, Verdict, read
from policies.unseen import INVISIBLE

KNOWN = dict.fromkeys(("P01.G", "P19.D2", "P19.R3"))
UNKNOWN = ("P99.B7", "P19.R999")
PLAIN = [
    "A cat.",
    "why not",
    "x",
    " ",
    "\n",
    "\n\n",
    "\r\n",
    "\t",
    "é",
    "🐈",
    "图",
    "<",
    "</",
    "[",
    "]",
    "[P1",
    "\u2028",
]
SPEAKING = [
    "[visual] ",
    "[visual]",
    "\n[textual] ",
    "Verdict: ",
    "Verdict: comply",
    "\nVerdict: refuse [P19.R3]",
]
CITING = ["[P19.D2]", " [P01.G] ", "[P99.B7]", " [P19.R3]"]
SEEMING = ["＜", "［visual］", "[P19․D2]", "Vеrdict: comply", "\u200b", "\ufeff"]
SEEMING_LETTERS = re.compile(f"[{INVISIBLE}{''.join(ALIKE.values())}]")
HEADS = ("[visual]", "[textual]", "[visual+textual]", "Verdict: ")
WITHOUT_CITATION = {*HEADS, *(f"Verdict: {verdict}" for verdict in Verdict)}

each_format = pytest.mark.parametrize("format_", FORMATS.values(), ids=FORMATS)
patient = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
cited = st.sampled_from((*KNOWN, *UNKNOWN)).map(lambda clause: Citation(clause, clause in KNOWN))
citations = st.lists(cited, max_size=3).map(tuple)


def texts(format_: ReasoningFormat, size: int = 8, *, harmless: bool = False) -> st.SearchStrategy[str]:
    """Mostly plain, with everything in between that could be taken for something.

    Harmless: without the pieces that no harmless text has; together, the others may still make one.
    """
    tags = format_.delimiters
    halves = [half for tag in tags for half in (tag[: len(tag) // 2], tag[len(tag) // 2 :])]
    plain = st.sampled_from(PLAIN)
    between = [CITING, SPEAKING, halves] if harmless else [CITING, SPEAKING, SEEMING, [*halves, *tags]]
    bits = st.one_of(*[plain] * 6, st.text(max_size=3), *map(st.sampled_from, between))
    return st.lists(bits, max_size=size).map("".join)


@st.composite
def traces(draw: st.DrawFn, format_: ReasoningFormat, *, harmless: bool = False) -> Trace:
    steps = tuple(draw(st.lists(written_steps(format_, harmless), min_size=int(harmless), max_size=5)))
    verdict = draw(st.sampled_from(Verdict) if harmless else st.sampled_from([None, *Verdict]))
    told = draw(citations) if verdict else ()
    return Trace(steps, verdict, told, "", draw(written_texts(format_, harmless)), ())


@st.composite
def written_steps(draw: st.DrawFn, format_: ReasoningFormat, harmless: bool) -> Step:
    text = draw(written_texts(format_, harmless))
    inside = tuple(Citation(clause, clause in KNOWN) for clause in CITATION.findall(text))
    sources = st.sampled_from(Source) if harmless else st.sampled_from([None, *Source])
    return Step(text, draw(sources), (*inside, *draw(citations)))


def written_texts(format_: ReasoningFormat, harmless: bool) -> st.SearchStrategy[str]:
    stripped = texts(format_, harmless=harmless).map(str.strip)
    return stripped.filter(lambda text: is_harmless(text, format_)) if harmless else stripped


def is_harmless(text: str, format_: ReasoningFormat) -> bool:
    """Nothing in it can be taken for anything, wherever it stands."""
    lines = text.split("\n")
    return (
        bool(text)
        and not any(tag.strip() in text for tag in format_.delimiters)
        and not SEEMING_LETTERS.search(text)
        and not any(line.startswith(HEADS) for line in lines)
        and not re.search(rf"{CITATION.pattern}$", text)
    )


def content(trace: Trace) -> tuple[object, ...]:
    return trace.steps, trace.verdict, trace.verdict_citations, trace.answer


def read_by_letters(text: str, format_: ReasoningFormat) -> Trace:
    reader = TraceReader(format_, KNOWN)
    for letter in text:
        reader.feed(letter)
    reader.close()
    return reader.trace


@each_format
@patient
@given(data=st.data())
def test_a_trace_is_written_so_that_it_reads_the_same_or_not_at_all(
    format_: ReasoningFormat, data: st.DataObject
) -> None:
    trace = data.draw(traces(format_))
    try:
        text = render(trace, format_)
    except RenderError:
        event("refused")
        return
    event("written")
    assert content(read(text, format_, KNOWN)) == content(trace)
    assert content(read_by_letters(text, format_)) == content(trace)


@each_format
@patient
@given(data=st.data())
def test_a_harmless_trace_is_always_written(format_: ReasoningFormat, data: st.DataObject) -> None:
    """Brackets, halves of tags, citations in the middle, several lines, clauses that do not exist."""
    trace = data.draw(traces(format_, harmless=True))
    again = read(render(trace, format_), format_, KNOWN)
    assert content(again) == content(trace)
    invalid = not all(citation.valid for citation in trace.citations)
    assert set(again.flags) - TOLERATED_FLAGS == ({"invalid_clause"} if invalid else set())


@st.composite
def replies(draw: st.DrawFn, format_: ReasoningFormat) -> str:
    """Often well formed, and never tidy."""
    pieces = []
    for number, section in enumerate(format_.reasoning):
        opens = not (format_.prefilled and number == 0) or draw(st.booleans())
        pieces += [section.opening] if opens else []
        pieces += ["[visual] x", draw(texts(format_, 4))]
        if number == len(format_.reasoning) - 1:
            pieces.append(
                draw(st.sampled_from(["\nVerdict: comply", "\nVerdict: refuse [P19.R3] [P01.G]\r\n"]))
            )
        pieces += [section.closing, draw(st.sampled_from(["", "\n", " \n\n"]))]
    answer = "Yes." + draw(texts(format_, 4))
    if format_.answer and draw(st.booleans()):
        answer = f"{format_.answer.opening}{answer}{format_.answer.closing}"
    return "".join([*pieces, answer])


def cannot_be_written_again(trace: Trace, format_: ReasoningFormat) -> bool:
    """The two cases that `render` names: a head left at a step's end, and a tag out of two parts."""
    ends = {step.text.split("\n")[-1].rstrip() for step in trace.steps}
    written = [*(step.text for step in trace.steps), trace.answer]
    return bool(ends & WITHOUT_CITATION) or any(tag in text for tag in format_.delimiters for text in written)


@each_format
@patient
@given(data=st.data())
def test_whatever_reads_as_well_formed_can_be_written_and_reads_the_same(
    format_: ReasoningFormat, data: st.DataObject
) -> None:
    trace = read(data.draw(replies(format_)), format_, KNOWN)
    assume(trace.well_formed)
    try:
        again = read(render(trace, format_), format_, KNOWN)
    except RenderError:
        assert cannot_be_written_again(trace, format_)
        return
    assert content(again) == content(trace)
    assert again.flags == trace.flags or cannot_be_written_again(trace, format_)


@pytest.mark.parametrize("line", ["Verdict: comply", "[textual]"])
def test_a_line_that_only_its_citation_kept_from_being_another_cannot_be_written(line: str) -> None:
    trace = read(f"<think>[visual] x\n{line}[P19.R3]\nVerdict: refuse</think>No.", FORMATS["think"], KNOWN)
    assert trace.well_formed
    assert trace.steps[0].text == f"x\n{line}"
    with pytest.raises(RenderError):
        render(trace, FORMATS["think"])


def test_a_tag_that_arises_where_a_mark_was_withheld_cannot_be_written() -> None:
    text = "<think>[visual] x\nVerdict: comply</think><answer>42</ans<|end_of_box|>wer> is it</answer>"
    trace = read(text, FORMATS["glm_box"], KNOWN)
    assert (trace.answer, trace.flags) == ("42</answer> is it", ())
    with pytest.raises(RenderError):
        render(trace, FORMATS["glm_box"])
