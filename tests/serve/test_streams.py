"""Claims about every stream there can be: hypothesis looks for the cut nobody thought of."""

from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serve.engine.events import MAX_EVENT_BYTES, EventReader, EventTooLong
from tests.fakes.scripted_engine import Scripted
from tests.serve.gateways import REFUSAL, Gateway, ask

_TAGS = ("<think>", "</think>", "[visual] ", "[textual] ", "[P19.D2]", "[P77.D1]", "Verdict: refuse")
_BITS = (*_TAGS, "\n", " x", "é🚲")
_INSIDE = st.lists(st.sampled_from(_BITS), max_size=12).map("".join)
REPLIES = st.one_of(
    st.just(REFUSAL),
    st.text(max_size=60),
    _INSIDE,
    _INSIDE.map(lambda inside: f"<think>\n{inside}</think> y"),
)


@st.composite
def cut_replies(draw: st.DrawFn) -> tuple[str, list[str], list[int]]:
    """A reply, the chunks a model's tokens cut it into, and where the network cuts the bytes."""
    reply = draw(REPLIES)
    edges = sorted({0, len(reply), *draw(st.lists(st.integers(0, len(reply)), max_size=12))})
    pieces = [reply[start:end] for start, end in pairwise(edges)]
    return reply, pieces, draw(st.lists(st.integers(0, 10_000), max_size=12))


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=cut_replies())
def test_any_chunking_of_any_reply_gives_one_safety_object(
    gateway: Gateway, cut: tuple[str, list[str], list[int]]
) -> None:
    reply, pieces, cuts = cut
    whole = Scripted(pieces=[reply])
    gateway.engine.enqueue(whole, Scripted(pieces=pieces, cuts=cuts), Scripted(pieces=pieces, cuts=cuts))
    reference, plain = (gateway.post(ask()).json()["choices"][0]["message"] for _ in range(2))
    *chunks, done = gateway.events(ask(stream=True))
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert plain == reference
    assert done == "[DONE]"
    assert deltas[-1]["safety"] == reference["safety"]
    assert "".join(delta.get("content") or "" for delta in deltas) == reference["content"]
    assert "".join(delta.get("reasoning") or "" for delta in deltas) == (reference["reasoning"] or "")
    steps = [delta["safety"]["step"] for delta in deltas if "step" in delta.get("safety", {})]
    assert steps == reference["safety"]["steps"]
    _assert_verdict_precedes_the_answer(deltas, reference["safety"]["verdict"])


def _assert_verdict_precedes_the_answer(deltas: list[dict[str, object]], verdict: str | None) -> None:
    told = [number for number, delta in enumerate(deltas) if delta.get("safety") == {"verdict": verdict}]
    answers = [number for number, delta in enumerate(deltas) if delta.get("content")]
    assert len(told) == 1
    assert not answers or told[0] < answers[0]


@given(
    st.lists(st.binary(min_size=1, max_size=20).filter(lambda data: not set(data) & {10, 13})),
    st.lists(st.integers(0, 500)),
    st.sampled_from([b"\n", b"\r\n"]),
)
def test_events_survive_any_cut(data: list[bytes], cuts: list[int], newline: bytes) -> None:
    stream = b"".join(b": c" + newline + b"data: " + item + newline + b"id: 1" + newline * 2 for item in data)
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    reader = EventReader()
    pieces = [stream[start:end] for start, end in pairwise(edges)]
    assert [event for piece in pieces for event in reader.feed(piece)] == data


def test_event_without_end_is_not_collected_forever() -> None:
    reader = EventReader()
    eighth = b"x" * (MAX_EVENT_BYTES // 8)
    assert [list(reader.feed(eighth)) for _ in range(8)] == [[]] * 8
    with pytest.raises(EventTooLong):
        list(reader.feed(eighth))
