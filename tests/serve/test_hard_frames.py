"""What no engine should send: nothing leaves that is not understood or that is forbidden, and nothing breaks.

On the wire of the composed gateway, enforcing. How events are cut out of bytes is held in `test_streams.py`.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes.raw_engine import DONE, EVENTS, Raw, chunk, frames, said
from tests.fakes.scripted_engine import Scripted
from tests.serve.gateways import Gateway
from tests.serve.guarded import ANSWER, FORBIDDEN, TRACE, WAYS, Json, tell

GOOD = said([TRACE, ANSWER])
BAD = said([TRACE, "It is a ", FORBIDDEN, "."])
WORD = FORBIDDEN.encode()


@pytest.fixture
def gateway(guarded: Gateway) -> Iterator[Gateway]:
    """Whatever it was sent, it answers the next one."""
    yield guarded
    guarded.engine.replies.clear()
    guarded.engine.enqueue(Scripted(TRACE + ANSWER))
    assert tell(guarded).answer == ANSWER


def dressed(before: bytes = b"", after: bytes = b"", blank: bytes = b" ") -> Callable[[Json], bytes]:
    """An event with other fields around its data."""

    def event(one: Json) -> bytes:
        return before + b"data:" + blank + json.dumps(one).encode() + b"\n" + after + b"\n"

    return event


def over_two_lines(one: Json) -> bytes:
    """`data` twice: one value, by the standard, with a line's end between both parts."""
    head, comma, tail = json.dumps(one).partition(",")
    return f"data: {head}{comma}\ndata: {tail}\n\n".encode()


FIELDS = {
    "without a blank": dressed(blank=b""),
    "with an event, an id and a retry before": dressed(
        before=b"event: %b\nid: %b\nretry: 1\n" % (WORD, WORD)
    ),
    "with an event, an id and a retry behind": dressed(after=b"retry: x\nid: %b\nevent: error\n" % WORD),
    "behind a comment": dressed(before=b": %b\n\n: %b\n" % (WORD, WORD)),
    "beside unknown fields": dressed(before=b"datum: %b\nDATA: %b\n" % (WORD, WORD), after=b"%b\n" % WORD),
    "over two lines": over_two_lines,
    "with carriage returns": lambda one: dressed(after=b"id: 1\n")(one).replace(b"\n", b"\r\n"),
    "behind blank lines": dressed(before=b"\n\r\n\n"),
}
"""Ways to spell an event that the standard allows."""


@pytest.mark.parametrize("spelling", FIELDS)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["", "with a byte order mark"])
def test_every_spelling_of_an_event_is_read_and_scanned(gateway: Gateway, spelling: str, mark: bytes) -> None:
    for chunks in (GOOD, BAD):
        first, *rest = [FIELDS[spelling](one) for one in chunks]
        gateway.engine.enqueue(Raw(writes=[mark + first, *rest, DONE]))
    passed, withheld = tell(gateway, stream=True), tell(gateway, stream=True)
    assert (passed.answer, passed.error) == (ANSWER, None)
    assert withheld.is_withheld
    assert not passed.holds(FORBIDDEN)
    assert not withheld.holds(FORBIDDEN)


def event(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"


def together(*chunks: Json) -> bytes:
    """All their choices in one event."""
    return frames([{"choices": [choice for one in chunks for choice in one["choices"]]}])[0]


BEGUN = frames(said([TRACE, "It is "], finish=None))
(ENDED,) = frames([chunk({}, "stop")])
(SPOKEN,) = frames([chunk({"content": FORBIDDEN})])
DEEP = b"[" * 100_000 + b"]" * 100_000
GOOGOLS = b"1" + b"0" * 400
ODD: dict[str, Sequence[bytes]] = {
    "only carriage returns": [one.replace(b"\n", b"\r") for one in (SPOKEN, ENDED)],
    "two events on one line": [SPOKEN.removesuffix(b"\n\n") + b" " + SPOKEN],
    "two values in one event": [SPOKEN.removesuffix(b"\n") + SPOKEN],
    "an event without its end": [SPOKEN.removesuffix(b"\n\n")],
    "half an event": [SPOKEN[:-20]],
    "no end": [],
    "the end twice, text between": [DONE, SPOKEN, ENDED],
    "text behind the choice's end": [ENDED, SPOKEN],
    "text behind the choice's end in one chunk": [together(chunk({}, "stop"), chunk({"content": FORBIDDEN}))],
    "the same choice twice in one chunk": [
        together(chunk({"content": FORBIDDEN[:4]}), chunk({"content": FORBIDDEN[4:]}, "stop"))
    ],
    "two choices where one was asked for": [
        together(chunk({"content": "x"}, "stop"), chunk({"content": FORBIDDEN}, "stop", index=1))
    ],
    "a field twice in one object": [
        event(b'{"choices":[{"index":0,"delta":{"content":"x","content":"%b"}}]}' % WORD),
        ENDED,
    ],
    "text that is no UTF-8": [
        event(b'{"choices":[{"index":0,"delta":{"content":"\xff%b"}}]}' % WORD),
        ENDED,
    ],
    "another encoding": [SPOKEN.decode().encode("utf-16"), ENDED.decode().encode("utf-16")],
    "no JSON": [event(WORD), ENDED],
    "no object": [event(b'["%b"]' % WORD), ENDED],
    "nothing": [event(b"null"), ENDED],
    "an empty event": [event(b""), ENDED],
    "choices that are no list": [event(b'{"choices": 5, "text": "%b"}' % WORD), ENDED],
    "a choice that is none": [event(b'{"choices": ["%b"]}' % WORD), ENDED],
    "a delta that is none": [event(b'{"choices": [{"index": 0, "delta": ["%b"]}]}' % WORD), ENDED],
    "text that is none": frames([chunk({"content": [FORBIDDEN], "reasoning": {"text": FORBIDDEN}}, "stop")]),
    "an end that is no word": [event(b'{"choices": [{"index": 0, "finish_reason": {"%b": 1}}]}' % WORD)],
    "deeper than anything reads": [event(b'{"choices": [], "x": %b}' % DEEP), ENDED],
    "numbers beyond measure": [
        ENDED,
        event(b'{"choices": [], "usage": {"prompt_tokens": %b, "completion_tokens": 1}}' % GOOGOLS),
    ],
    "an error that is none": [event(b'{"error": ["%b"]}' % WORD), ENDED],
    "a body in place of events": [b'{"choices": [{"index": 0, "message": {"content": "%b"}}]}' % WORD],
}
"""What comes behind a proper beginning."""


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_not_understood_does_not_leave(gateway: Gateway, odd: str, stream: bool) -> None:
    gateway.engine.enqueue(Raw(writes=[*BEGUN, *ODD[odd], DONE]))
    told = tell(gateway, stream=stream)
    assert not told.holds(FORBIDDEN)
    assert told.answer in ("", "It is")
    assert told.status in (200, 503)
    assert told.error in (None, "engine_failed")


NO_REPLY: dict[str, tuple[str, bytes]] = {
    "words": ("text/html", b"<html>" + WORD),
    "no object": ("application/json", json.dumps(FORBIDDEN).encode()),
    "no choices": ("application/json", b"{}"),
    "no message": ("application/json", b'{"choices": [{"index": 0, "message": null}]}'),
    "a message that is none": (
        "application/json",
        b'{"choices": [{"index": 0, "message": "' + WORD + b'"}]}',
    ),
    "events under another name": ("application/json", SPOKEN),
}


@pytest.mark.parametrize("name", NO_REPLY)
def test_what_is_no_reply_at_all_is_a_status(gateway: Gateway, name: str) -> None:
    content_type, body = NO_REPLY[name]
    gateway.engine.enqueue(*[Raw(writes=[body], content_type=content_type)] * 3)  # it is asked three times
    told = tell(gateway, stream=True)
    assert (told.status, told.error) == (503, "engine_failed")
    assert not told.holds(FORBIDDEN)


@pytest.mark.parametrize("parsed", [None, (f"[visual] A {FORBIDDEN}.\nVerdict: comply", "Yes.")])
@pytest.mark.parametrize(("api", "stream"), WAYS)
def test_an_engine_that_ignores_stream_is_scanned_and_converted(
    gateway: Gateway, api: str, stream: bool, parsed: tuple[str, str] | None
) -> None:
    """In its answer and, where it takes the reply apart itself, in its reasoning."""
    bad = Scripted(TRACE + "It is a " + FORBIDDEN, ignores_stream=True, parsed=parsed)
    gateway.engine.enqueue(bad, Scripted(TRACE + ANSWER, ignores_stream=True))
    withheld, passed = tell(gateway, api, stream), tell(gateway, api, stream)
    assert withheld.is_withheld
    assert withheld.answer == ""
    assert not withheld.holds(FORBIDDEN)
    assert (passed.answer, passed.error) == (ANSWER, None)


@pytest.mark.parametrize("number", [b"NaN", b"-Infinity", b"1e999"])
def test_a_number_that_is_none_spoils_no_reply(gateway: Gateway, number: bytes) -> None:
    """Python reads and writes them; no other reader of JSON does."""
    entry = b'{"token":"","logprob":%b}' % number
    spoiled = event(b'{"choices":[{"index":0,"delta":{},"logprobs":{"content":[%b]}}]}' % entry)
    gateway.engine.enqueue(Raw(writes=[*frames(GOOD[:-1]), spoiled, ENDED, DONE]))
    told = tell(gateway, logprobs=True)
    assert told.answer == ANSWER
    assert '"logprob":null' in told.raw


LETTERS = "漢字 🚲 é — "


@st.composite
def cut_streams(draw: st.DrawFn) -> tuple[str, list[bytes]]:
    """An answer in letters of several bytes, with the word in it or not; its bytes, cut anywhere."""
    before, after = (draw(st.text(LETTERS, max_size=200)) for _ in range(2))
    answer = before + draw(st.sampled_from([FORBIDDEN, ""])) + after
    size = draw(st.integers(1, 40))
    chunks = said([TRACE, *(answer[at : at + size] for at in range(0, len(answer), size))])
    newline = draw(st.sampled_from([b"\n", b"\r\n"]))
    stream = b"".join([*frames(chunks), DONE]).replace(b"\n", newline)
    edges = sorted({0, len(stream), *draw(st.lists(st.integers(0, len(stream)), max_size=20))})
    return answer, [stream[start:end] for start, end in pairwise(edges)]


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(cut=cut_streams())
def test_bytes_cut_anywhere_hide_no_word_and_spoil_no_letter(
    gateway: Gateway, cut: tuple[str, list[bytes]]
) -> None:
    answer, writes = cut
    gateway.engine.enqueue(Raw(writes=writes, content_type=EVENTS))
    told = tell(gateway, stream=True)
    assert told.error is None
    if FORBIDDEN in answer:
        assert told.is_withheld
        assert answer.partition(FORBIDDEN)[0].lstrip().startswith(told.answer)
    else:
        assert told.refusal == ""
        assert told.answer.split() == answer.split()
