"""Forbidden expressions: what may be one, what it finds, and how wide what it finds can be."""

import re
from typing import Any

import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st

from serve.gate.guard import GuardRefused
from serve.gate.patterns import PADDING, WIDEST, Patterns
from serve.gate.shadow import DROPPED, other_shadow, shadow
from serve.gate.values import Excerpt, Ruling, Stage
from serve.options.gate import PatternGuard


def guard(*patterns: str, **options: Any) -> Patterns:
    return Patterns(PatternGuard(kind="patterns", name="words", patterns=patterns, **options))


def judge(patterns: Patterns, text: str, *, start: int = 0, final: bool = True) -> Ruling:
    return patterns.judge(Excerpt(Stage.ANSWER, text, start, 0, final))


@pytest.mark.parametrize("pattern", ["a+", "ab*c", "a{3,}b", "x(ab)*y", "[ab]{1,900}c" * (WIDEST // 900 + 1)])
def test_an_unbounded_pattern_stops_the_start_by_name(pattern: str) -> None:
    with pytest.raises(GuardRefused, match=rf"guard words: pattern .*{re.escape(repr(pattern))}.* bound it"):
        guard("harmless", pattern)


@pytest.mark.parametrize("pattern", ["(?=a)b", "(?!a)b", "(?<=a)b", "(?<!a)b", r"(a)\1", "a(?>b)c"])
def test_lookarounds_are_refused_by_name(pattern: str) -> None:
    with pytest.raises(GuardRefused, match="guard words: .*" + re.escape(repr(pattern))):
        guard(pattern)


@pytest.mark.parametrize("pattern", ["a?", "(?i)", r"\b", "a|", "x{0,3}"])
def test_a_pattern_that_matches_nothing_everywhere_is_refused(pattern: str) -> None:
    with pytest.raises(GuardRefused, match="demand a character"):
        guard(pattern)


@pytest.mark.parametrize("pattern", ["a{,5}b", "[[:alpha:]]b", "(?<n>a)b", "a\ud800"])
def test_what_two_engines_read_differently_is_refused(pattern: str) -> None:
    with pytest.raises(GuardRefused):
        guard(pattern)


def test_reach_is_the_widest_pattern() -> None:
    assert guard("abc", r"\bx[a-z]{1,20}y\b", "(?i)ab|cde").reach == 22
    assert guard(r"\pL{1,9}\x{20AC}", r"\\p", r"[\p{Greek}x]{2}").reach == 10


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_match_is_wider_than_the_reach(data: st.DataObject) -> None:
    piece = st.sampled_from(
        ["a", "[ab]", r"\w", ".", "b{1,3}", "(?:ab|b)", r"\b", "(a|ba){0,2}", "ß", r"\pL"]
    )
    pattern = "".join(data.draw(st.lists(piece, min_size=1, max_size=6))) + "a"
    text = data.draw(st.text("ab ß.", max_size=40))
    widest = max((len(found.group()) for found in re2.finditer(pattern, text)), default=0)
    assert widest <= guard(pattern).reach


@pytest.mark.parametrize(
    "text",
    [
        "a FORBIDDEN-word",
        "forb\u200bid\u00adden-wo\u2060rd",
        "f\u0335o\u0335r\u0335bidden-word",
        "ｆｏｒｂｉｄｄｅｎ-ｗｏｒｄ",
        "𝐟𝐨𝐫𝐛𝐢𝐝𝐝𝐞𝐧-𝐰𝐨𝐫𝐝",
        "forbiddеn-wоrd",
        "fórbiddén\u2011wörd",
        "FОRВІDDЕΝ-ԜΟRD",
    ],
)
def test_look_alikes_and_invisible_letters_do_not_hide_a_match(text: str) -> None:
    assert judge(guard("forbidden-word"), text).blocks
    assert not judge(guard("forbidden-word", normalise=False), text).blocks


def test_a_letter_that_looks_like_two_is_taken_for_either() -> None:
    assert judge(guard("kill-marker"), "kiІІ-marker").blocks
    assert judge(guard("idle-marker"), "Іdle-marker").blocks


@pytest.mark.parametrize("text", ["запрещено", "ЗАПРЕЩЕНО", "зaпpeщeнo", "Зáпрещено"])
def test_a_pattern_of_another_script_is_found_by_its_looks_too(text: str) -> None:
    assert judge(guard("запрещено"), text).blocks


@pytest.mark.parametrize(
    "text", ["a concatenation", "Ein größerer Überblick", "καλημέρα", "नमस्ते दुनिया", "\ud800 \udfff"]
)
def test_other_words_pass(text: str) -> None:
    assert judge(guard(r"\bcat\b", "forbidden-word"), text) == Ruling(blocks=False)


def test_a_match_beside_half_a_character_is_found() -> None:
    assert judge(guard(r"\bcat\b"), "\ud800cat\udfff").blocks


def test_padding_beyond_reason_blocks() -> None:
    patterns = guard("forbidden-word")
    stretched = ("\u200b" * 40).join("harmless-words")
    assert judge(patterns, stretched) == Ruling(blocks=True, guard="words", category="padding")
    assert judge(patterns, "a" + "\u0301" * (PADDING + patterns.reach + 1)).category == "padding"
    assert not judge(patterns, "a" + "\u0301" * (PADDING + patterns.reach)).blocks
    assert not judge(patterns, "tie\u0302\u0301ng Vie\u0323\u0302t " * 200).blocks


def test_what_may_still_change_is_not_ruled_yet() -> None:
    patterns = guard(r"\bcat\b")
    assert not judge(patterns, "a cat", final=False).blocks
    assert judge(patterns, "a cat", final=True).blocks
    assert judge(patterns, "a cat ", final=False).blocks


def test_what_stood_before_an_excerpt_is_unknown_and_no_border_of_a_word() -> None:
    patterns = guard(r"\bcat\b", "^dog")
    assert not judge(patterns, "cat is inside concat", start=3).blocks
    assert judge(patterns, "a cat is seen", start=3).blocks
    assert not judge(patterns, "dog", start=3).blocks
    assert judge(patterns, "dog").blocks


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("aé\u0301\u200bІßﬃд1 "), max_size=12), st.text(max_size=8))
def test_a_shadow_is_the_same_wherever_its_text_is_cut(one: str, other: str) -> None:
    assert shadow(one) + shadow(other) == shadow(one + other)
    assert len(shadow(one)) >= len(one) - len(DROPPED.findall(one))
    assert shadow(shadow(one)) == shadow(one)
    assert other_shadow("plain text") is None
