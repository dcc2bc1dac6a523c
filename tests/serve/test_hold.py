"""One channel's text leaves by one way, and only what was cleared."""

import tracemalloc
from collections.abc import Iterable

import pytest

from policies.reply import AnswerText, ReasoningText, Source, Step, StepRead, VerdictRead
from serve.gate import hold as hold_module
from serve.gate.hold import Hold
from serve.gate.sentences import sentence_end
from serve.gate.solid import before, solid
from serve.gate.values import Excerpt, Stage

STEP = StepRead(Step("a", Source.TEXTUAL, ()))
OTHER = StepRead(Step("b", Source.VISUAL, ()))
END = VerdictRead(None, ())


def answer(reach: int = 4, most: int = 10, whole: bool = False) -> Hold:
    return Hold(Stage.ANSWER, reach, reach + 1 if reach else 0, most, whole)


def reasoning(reach: int = 4, most: int = 100) -> Hold:
    return Hold(Stage.REASONING, reach, reach + 1 if reach else 0, most)


def cleared(hold: Hold) -> Excerpt:
    excerpt = hold.due()
    assert excerpt
    hold.clear(excerpt)
    return excerpt


def said(outs: Iterable[object]) -> str:
    return "".join(out.text for out in outs if isinstance(out, AnswerText | ReasoningText))


def test_nothing_leaves_before_an_excerpt_with_it_was_cleared() -> None:
    hold = answer(reach=0)
    hold.put("0123456789")
    assert hold.due()
    assert hold.take() == []
    cleared(hold)
    hold.put("abc")
    assert hold.take() == [AnswerText("0123456789")]
    assert (hold.generated, hold.examined, hold.released) == (13, 10, 10)


def test_an_excerpt_that_leaves_a_gap_is_refused() -> None:
    hold = answer()
    hold.put("0123456789")
    first = hold.due()
    assert first
    for other in (
        Excerpt(Stage.ANSWER, "56789", 5, 0, False),
        Excerpt(first.stage, first.text, first.start, first.fresh, first.final),
    ):
        with pytest.raises(ValueError, match="only the excerpt that is due"):
            hold.clear(other)
    hold.clear(first)
    with pytest.raises(ValueError, match="only the excerpt that is due"):
        hold.clear(first)
    assert said(hold.take()) == "012345"


def test_excerpts_touch_and_show_the_end_of_the_old_again() -> None:
    hold = answer(reach=4)
    shown = []
    for text in ("0123456789", "abcdefghij", "klm"):
        hold.put(text)
        if text == "klm":
            hold.end()
        shown.append(cleared(hold))
    assert [(e.text, e.start, e.fresh, e.final) for e in shown] == [
        ("0123456789", 0, 0, False),
        ("56789abcdefghij", 5, 5, False),
        ("fghijklm", 15, 5, True),
    ]


def test_a_clean_window_keeps_its_last_characters_back() -> None:
    hold = answer(reach=4)
    hold.put("0123456789")
    cleared(hold)
    assert said(hold.take()) == "012345"
    hold.put("ab")
    assert hold.due() is None
    assert hold.take() == []
    hold.end()
    cleared(hold)
    assert said(hold.take()) == "6789ab"
    assert hold.is_done


def test_the_same_excerpt_is_due_until_it_is_cleared() -> None:
    hold = answer()
    hold.put("0123456789")
    first = hold.due()
    hold.put("more of it, while somebody looks at the first")
    assert hold.due() is first
    cleared(hold)
    second = hold.due()
    assert second
    assert second.text[second.fresh :] == "more of it, while somebody looks at the first"


def test_padding_does_not_stretch_a_match_beyond_the_reach() -> None:
    """Four characters that count are held back, with whatever does not count among them."""
    hold = answer(reach=4)
    hold.put("0123B\u200b\u200bA\u0301\u200b\u200b\u200bD")
    cleared(hold)
    assert said(hold.take()) == "012"
    hold.put("!" + "\u200b" * 20)
    again = cleared(hold)
    assert again.text.startswith("23B\u200b\u200bA")
    assert said(hold.take()) == "3"


def test_what_counts_is_what_stays_a_character_of_its_own() -> None:
    assert solid("plain text\n") == 11
    assert solid("a\u0301\u00ad\ufe0f\u1161\U0001d41b\x00b") == 2
    assert before("ab\u200bc", 4, 2) == 1
    assert before("ab", 2, 3) == -1


def test_a_step_leaves_whole_and_its_mark_behind_its_text() -> None:
    hold = reasoning(reach=4)
    hold.put("[visual] a cat\n[text")
    hold.mark(STEP)
    assert hold.due() is None, "what follows the mark may belong to a match that begins before it"
    hold.put("ual] on")
    cleared(hold)
    assert hold.take() == [ReasoningText("[visual] a cat\n[text"), STEP]
    hold.put(" a mat\n[v")
    assert hold.due() is None, "a step that is under way"
    assert hold.take() == []
    hold.mark(OTHER)
    hold.mark(END)
    hold.end()
    cleared(hold)
    assert hold.take() == [ReasoningText("ual] on a mat\n[v"), OTHER, END]
    assert hold.is_done


def test_a_step_without_end_is_not_held_for_ever() -> None:
    hold = reasoning(reach=4, most=20)
    hold.put("x" * 20)
    cleared(hold)
    assert hold.take() == []
    hold.put("y")
    assert said(hold.take()) == "x" * 16


def test_a_verdict_of_reasoning_without_text_leaves_once_the_channel_was_cleared() -> None:
    hold = reasoning()
    hold.mark(END)
    hold.end()
    assert hold.take() == []
    assert cleared(hold).final
    assert hold.take() == [END]
    assert hold.is_done


def test_a_whole_channel_leaves_only_at_its_end() -> None:
    hold = answer(reach=0, most=5, whole=True)
    hold.put("0123456789")
    assert hold.due() is None
    assert hold.take() == []
    hold.end()
    assert cleared(hold).text == "0123456789"
    assert said(hold.take()) == "0123456789"


def test_excerpts_end_where_sentences_do_and_so_does_what_leaves() -> None:
    hold = answer(reach=0)
    hold.cut_by(sentence_end)
    hold.put("I cannot, in 3.5 ways. It is")
    assert cleared(hold).text == "I cannot, in 3.5 ways."
    assert said(hold.take()) == "I cannot, in 3.5 ways."
    assert hold.due() is None
    hold.put(" late. Good")
    hold.end()
    assert cleared(hold).text == " It is late."
    assert cleared(hold).final
    assert said(hold.take()) == " It is late. Good"
    assert hold.is_done


def test_a_boundary_that_never_comes_holds_no_more_than_it_was_shown() -> None:
    hold = answer(reach=0)
    hold.cut_by(lambda text, ended: 0)
    hold.put("x" * 5000)
    assert len(cleared(hold).text) == 4096
    assert hold.due() is None
    hold.end()
    assert len(cleared(hold).text) == 904
    assert hold.is_sealed


def test_a_dropped_hold_never_gives_anything_again() -> None:
    hold = reasoning(reach=0)
    hold.put("[visual] a cat\n")
    hold.mark(STEP)
    excerpt = hold.due()
    assert excerpt
    hold.drop()
    with pytest.raises(ValueError, match="only the excerpt that is due"):
        hold.clear(excerpt)
    hold.put("more")
    hold.mark(OTHER)
    hold.end()
    assert hold.due() is None
    assert hold.take() == []
    assert hold.held == 0
    assert not hold.is_done


def test_a_context_that_would_let_a_match_hide_between_excerpts_is_refused() -> None:
    with pytest.raises(ValueError, match="context 4 must be more than reach 4"):
        Hold(Stage.ANSWER, reach=4, context=4, most_chars=10)


def test_nothing_follows_an_end() -> None:
    hold = answer()
    hold.end()
    with pytest.raises(ValueError, match="nothing can follow"):
        hold.put("x")


def test_what_has_left_is_forgotten() -> None:
    """Ten times as much passes, and no more is kept. What another thread allocates is not counted."""
    hold = answer(reach=4, most=100)
    tracemalloc.start()
    try:
        pass_through(hold, times=200)
        before = kept_bytes()
        pass_through(hold, times=2000)
        after = kept_bytes()
    finally:
        tracemalloc.stop()
    assert hold.released == 220_000 - 4
    assert after - before < 20_000


def pass_through(hold: Hold, *, times: int) -> None:
    for number in range(times):
        hold.put(f"{number:0100}")
        cleared(hold)
        hold.take()


def kept_bytes() -> int:
    """By what the hold and this test allocated."""
    ours = [tracemalloc.Filter(True, path) for path in (hold_module.__file__, __file__)]
    statistics = tracemalloc.take_snapshot().filter_traces(ours).statistics("filename")
    return sum(one.size for one in statistics)
