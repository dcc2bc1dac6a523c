"""Whatever a model writes and however it is cut: no exception, the same trace, the same events."""

from collections.abc import Sequence
from itertools import groupby
from typing import TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from policies.formats import FORMATS, ReasoningFormat
from policies.trace import AnswerText, Event, Flag, ReasoningText, StepRead, Trace, TraceReader, VerdictRead
from policies.unseen import shows

KNOWN = dict.fromkeys(("P01.G", "P19.D2", "P19.R3"))
WORDS = [
    *(
        "[visual] ",
        "[textual] ",
        "[visual+textual] ",
        "[visual",
        "Verdict: ",
        "refuse",
        "comply",
        " [P19.R3]",
    ),
    *(
        "Verdict: safe_complete [P19.R3]\n",
        "\nVerdict: comply",
        "[P19.D2]",
        "[P99.B7]",
        "[P1",
        "\n",
        "\n\n",
        " ",
    ),
    *("\r\n", "\t", "\u00a0", "\u2028", "<", "</", ">", "◁", "<|", "A cat.", "why not", "é", "🐈"),
    *("[vіsual] ", "［P19.D2］", "Vеrdict: refuse", "＜", "＞", "\u200b", "\u200b\u00ad", "\ufeff"),
]
formats = st.sampled_from(sorted(FORMATS)).map(lambda name: FORMATS[name])


@st.composite
def replies(draw: st.DrawFn, format_: ReasoningFormat) -> str:
    words = st.one_of(st.sampled_from(WORDS), st.sampled_from(format_.delimiters), st.text(max_size=3))
    return "".join(draw(st.lists(words, max_size=25)))


Whole = TypeVar("Whole", str, bytes)


@st.composite
def cut(draw: st.DrawFn, text: Whole) -> list[Whole]:
    if draw(st.booleans()):
        return [text[at : at + 1] for at in range(len(text))]
    places = draw(st.lists(st.integers(0, len(text)), max_size=12).map(sorted))
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]


def code_units(text: str) -> str:
    """The text as a JSON escape spells it: characters beyond the BMP as two halves."""
    units = text.encode("utf-16-le")
    return "".join(chr(low | high << 8) for low, high in zip(units[::2], units[1::2], strict=True))


def run(format_: ReasoningFormat, pieces: Sequence[str | bytes]) -> tuple[list[Event], Trace]:
    reader = TraceReader(format_, KNOWN)
    events = [event for piece in pieces for event in reader.feed(piece)]
    events += reader.close()
    return joined(events), reader.trace


def joined(events: list[Event]) -> list[Event]:
    """Neighbouring texts as one, because only there chunkings may differ."""
    result: list[Event] = []
    for kind, group in groupby(events, type):
        if kind in (ReasoningText, AnswerText):
            result.append(kind("".join(event.text for event in group)))
        else:
            result.extend(group)
    return result


@settings(max_examples=1_000, deadline=None)
@given(st.data(), formats)
def test_any_chunking_gives_the_same_events_and_trace(data: st.DataObject, format_: ReasoningFormat) -> None:
    reply = data.draw(replies(format_))
    assert run(format_, data.draw(cut(reply))) == run(format_, [reply])


@settings(max_examples=500, deadline=None)
@given(st.data(), formats)
def test_any_cut_of_its_bytes_gives_the_same_trace(data: st.DataObject, format_: ReasoningFormat) -> None:
    reply = data.draw(replies(format_))
    assert run(format_, data.draw(cut(reply.encode()))) == run(format_, [reply])


@settings(max_examples=500, deadline=None)
@given(st.data(), formats)
def test_any_cut_of_its_utf_16_gives_the_same_trace(data: st.DataObject, format_: ReasoningFormat) -> None:
    reply = data.draw(replies(format_))
    assert run(format_, data.draw(cut(code_units(reply)))) == run(format_, [reply])


@settings(deadline=None)
@given(st.data(), formats)
def test_events_and_trace_tell_the_same_story(data: st.DataObject, format_: ReasoningFormat) -> None:
    events, trace = run(format_, [data.draw(replies(format_))])
    assert "".join(e.text for e in events if isinstance(e, ReasoningText)) == trace.reasoning
    assert "".join(e.text for e in events if isinstance(e, AnswerText)) == trace.answer
    assert tuple(e.step for e in events if isinstance(e, StepRead)) == trace.steps
    verdicts = [e for e in events if isinstance(e, VerdictRead)]
    assert verdicts == [VerdictRead(trace.verdict, trace.verdict_citations)]
    before = events[: events.index(verdicts[0])]
    after = events[events.index(verdicts[0]) + 1 :]
    assert not any(isinstance(e, AnswerText) for e in before)
    assert all(isinstance(e, AnswerText) for e in after)


@settings(deadline=None)
@given(st.data(), formats)
def test_flags_say_what_the_trace_lacks(data: st.DataObject, format_: ReasoningFormat) -> None:
    _, trace = run(format_, [data.draw(replies(format_))])
    assert (Flag.MISSING_VERDICT in trace.flags) == (trace.verdict is None)
    assert (Flag.EMPTY_ANSWER in trace.flags) == (not shows(trace.answer))
    assert (Flag.NO_TRACE in trace.flags) == (not trace.steps)
    assert (Flag.UNTAGGED_STEP in trace.flags) == any(step.source is None for step in trace.steps)
    assert (Flag.INVALID_CLAUSE in trace.flags) >= any(not cited.valid for cited in trace.citations)
    assert all(cited.valid == (cited.clause in KNOWN) for cited in trace.citations)


@settings(deadline=None)
@given(st.data(), formats)
def test_outside_its_tags_no_text_is_lost_or_invented(data: st.DataObject, format_: ReasoningFormat) -> None:
    """Letters that no tag contains all arrive, in order."""
    reply = data.draw(replies(format_))
    _, trace = run(format_, [reply])
    rest = reply
    for tag in format_.delimiters:
        rest = rest.replace(tag, "")
    kept = trace.reasoning + trace.answer
    for tag in format_.delimiters:
        kept = kept.replace(tag, "")
    assert [c for c in kept if c in "🐈.0123456789"] == [c for c in rest if c in "🐈.0123456789"]
