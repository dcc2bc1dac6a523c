"""Ten thousand hostile streams: whatever a model writes, however it is cut, whenever guards speak.

Words that are forbidden stand in every channel: whole, cut, padded with what nobody sees, across steps,
windows and network reads. The panel is scripted, so that what it has passed is known; what must not leave is
worked out from the whole text afterwards, by other means than the gate's.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import cycle

from hypothesis import given, settings
from hypothesis import strategies as st

from policies.reply import AnswerText, ReasoningText
from serve.api.handling import DEFAULT_SEVERITIES
from serve.gate.values import Excerpt, Handling, Json, Mode, Severity, Stage
from tests.serve.gating import FLAGGING, Passage, ScriptedPanel, gate_of, marks, pieces, seen_at, send

HOSTILE = settings(max_examples=2500, deadline=None)
PATTERNS = ("FORBIDDEN", r"\bx[ab]{1,4}y\b", r"k\s{1,3}k", r"user@exa\w{0,4}\.com")
TAGS = ("<think>\n", "\n</think>\n", "</think>", "[visual] ", "[textual] ", "\n[visual+textual] ")
VERDICTS = ("\nVerdict: refuse [P19.R3]\n", "\nVerdict: comply\n", "\nVerdict: safe_complete [P19.R5]\n")
FORBIDDEN = ("FORBIDDEN", "FORB", "IDDEN", "xaby", "xa", "by", "xabyz", "k", " k", "user@exa", "mple.com")
WIDEST = ("user@example.com", "user@example.com", "us\u200ber@exam\u00ad\u00adple.com")
"""As wide as a match can be: one character more that leaves too early would be its first."""
PADDING = ("\u200b", "\u00ad", "\u200b\ufeff\u200b\u200b", "\ufe0f" * 9)
ANSWERS = ("I can't help with that. ", "I am sorry. ", "Sure, here is how: ", "\n1. Take ", "step one, ")
PLAIN = (" ", "\n", "word ", "lorem ipsum dolor. ", "é ", "漢字", "A cat.\n", "[P19.D2]", " [P99.B7]", "3.5")
WORDS = (*TAGS, *VERDICTS, *FORBIDDEN, *WIDEST, *PADDING, *ANSWERS, *PLAIN, *PLAIN)
PROPER = "<think>\n[textual] The user asks. [P01.G]\n[visual] It shows a cat."


@dataclass(frozen=True)
class Stream:
    """What a model says, how it arrives, and when guards speak."""

    text: str
    arguments: str
    cuts: Sequence[int]
    lates: Sequence[bool]
    speaks: Sequence[bool]
    window: int
    step: int

    def through(
        self, handling: Handling, on_out: Callable[[Passage], None] = lambda passage: None
    ) -> Passage:
        """A gate, to the end."""
        panel = ScriptedPanel(PATTERNS, is_late=in_turn(self.lates))
        gate = gate_of(panel, handling, window_chars=self.window, most_step_chars=self.step)
        calls: list[Json] = (
            [{"index": 0, "function": {"name": "look", "arguments": self.arguments}}]
            if self.arguments
            else []
        )
        return send(
            pieces(self.text, self.cuts), gate, panel, calls=calls, speaks=in_turn(self.speaks), on_out=on_out
        )


def in_turn(values: Sequence[bool]) -> Callable[[], bool]:
    """Over and over."""
    return cycle(values).__next__


bits = st.lists(st.booleans(), min_size=1, max_size=6)
cuts = st.lists(st.integers(1, 40), min_size=1, max_size=6) | st.sampled_from(([1], [10_000], [9], [33]))
words = st.lists(st.sampled_from(WORDS), max_size=14).map("".join)


@st.composite
def streams(draw: st.DrawFn) -> Stream:
    text = draw(words)
    if draw(st.booleans()):
        text = PROPER + draw(st.sampled_from(VERDICTS)) + "</think>" + text
    return Stream(
        text=text,
        arguments=draw(st.sampled_from(("", "", '{"at": "a cat"}', '{"at": "\\u0046ORBIDDEN"}'))),
        cuts=draw(cuts),
        lates=draw(bits),
        speaks=draw(bits),
        window=draw(st.sampled_from((1, 5, 30, 160))),
        step=draw(st.sampled_from((1, 20, 2000))),
    )


handlings = st.builds(
    Handling,
    mode=st.sampled_from((Mode.ENFORCE, Mode.ENFORCE, Mode.STRICTER)),
    requires_trace=st.booleans(),
    has_picture=st.booleans(),
    severities=st.sampled_from(
        (DEFAULT_SEVERITIES, FLAGGING, dict.fromkeys(DEFAULT_SEVERITIES, Severity.BLOCK))
    ),
)
CHANNELS = ((ReasoningText, Stage.REASONING), (AnswerText, Stage.ANSWER))


def channel(shown: Sequence[Excerpt], stage: Stage) -> list[Excerpt]:
    """Of the text itself: tool calls are shown under the same stage, and begin with their name."""
    return [excerpt for excerpt in shown if excerpt.stage is stage and not excerpt.text.startswith("look\n")]


@HOSTILE
@given(streams(), handlings)
def test_every_delivered_character_was_scanned_before_it_left(stream: Stream, handling: Handling) -> None:
    def check(passage: Passage) -> None:
        for kind, stage in CHANNELS:
            scanned = 0
            for excerpt in channel(passage.panel.passed, stage):
                assert excerpt.text == passage.written(kind)[excerpt.start : excerpt.end]
                assert excerpt.start + excerpt.fresh == scanned, "excerpts leave no gap"
                scanned = excerpt.end
            assert len(passage.delivered(kind)) <= scanned
        if passage.calls:
            assert any(stream.arguments in excerpt.text for excerpt in passage.panel.passed)

    passage = stream.through(handling, check)
    assert passage.gate.is_done


@HOSTILE
@given(streams())
def test_no_character_of_a_forbidden_match_leaves(stream: Stream) -> None:
    passage = stream.through(Handling(Mode.ENFORCE, requires_trace=False, severities=FLAGGING))
    found = [
        (seen_at(pattern, passage.written(kind)), passage.delivered(kind))
        for kind, _ in CHANNELS
        for pattern in PATTERNS
    ]
    for at, delivered in found:
        assert at is None or len(delivered) <= at
    is_forbidden = any(at is not None for at, _ in found) or "ORBIDDEN" in stream.arguments
    assert passage.blocks == (["withheld"] if is_forbidden else [])
    delivered_steps = [step.text for step in passage.gate.delivered.trace.steps]
    assert not any("FORBIDDEN" in step for step in delivered_steps)


@HOSTILE
@given(streams(), handlings)
def test_delivered_is_a_prefix_of_generated_and_all_of_it_when_nothing_blocks(
    stream: Stream, handling: Handling
) -> None:
    passage = stream.through(handling)
    for kind, _ in CHANNELS:
        assert passage.written(kind).startswith(passage.delivered(kind))
    read, left = marks(passage.generated), marks(passage.outs)
    assert read[: len(left)] == left
    delivered, trace = passage.gate.delivered.trace, passage.trace
    assert trace
    assert trace.steps[: len(delivered.steps)] == delivered.steps
    if not passage.blocks:
        assert delivered == trace
        assert len(passage.calls) == bool(stream.arguments)
    else:
        assert passage.outs[-1] == passage.gate.blocked
        assert len(passage.blocks) == 1
        assert delivered.reasoning == passage.delivered(ReasoningText).rstrip()
        assert delivered.answer == passage.delivered(AnswerText).rstrip()
        assert not set(delivered.flags) & {"empty_answer", "unclosed_answer", "unclosed_reasoning"}


@HOSTILE
@given(streams(), handlings, cuts, bits, bits)
def test_any_chunking_and_any_timing_of_rulings_gives_the_same_block(
    stream: Stream, handling: Handling, other_cuts: list[int], lates: list[bool], speaks: list[bool]
) -> None:
    one = stream.through(handling)
    other = replace(stream, cuts=other_cuts, lates=lates, speaks=speaks).through(handling)
    assert one.gate.blocked == other.gate.blocked
    observed = stream.through(replace(handling, mode=Mode.OBSERVE))
    assert observed.gate.account.would == (one.gate.blocked.action if one.gate.blocked else None) or (
        handling.mode is Mode.STRICTER
    )
    if not one.blocks:
        assert one.gate.delivered.trace == other.gate.delivered.trace


def test_the_streams_hold_what_they_are_meant_to_hold() -> None:
    """Else the claims above would be about nothing."""
    text = PROPER + VERDICTS[0] + "</think>" + "I can't help with that. FORB\u200bIDDEN user@exa mple.com"
    assert [bool(seen_at(pattern, text)) for pattern in PATTERNS] == [True, False, False, False]
    assert re.search("FORBIDDEN", text) is None
