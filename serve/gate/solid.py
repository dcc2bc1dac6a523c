"""Which characters of a text count, where guards also look at it with some left out or melted together.

A guard against look-alikes drops invisible characters and composes letters with their marks. What is counted
here keeps at least one character of its own through all of that, so a match of n characters in what such a
guard sees covers at most n solid ones of the text itself, however much padding lies between them.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from itertools import groupby

from policies.unseen import INVISIBLE

_JAMO = "\u1160-\u11ff"
"""Vowels and final consonants of Hangul: they melt into the syllable before them, and are no marks."""
_BEYOND = "\U00010000-\U0010ffff"
"""None of these counts, because telling them apart is slow: more is held back, and never too little."""


def solid(text: str) -> int:
    """How many of its characters count."""
    if text.isascii():
        return len(text.encode().translate(None, _fading_ascii()))
    return len(text) - len(_fading().findall(text))


def before(text: str, end: int, count: int) -> int:
    """Where the last `count` solid characters of `text[:end]` begin; -1 where there are not so many."""
    missing = count
    while missing and end:
        start = max(0, end - missing)
        missing -= solid(text[start:end])
        end = start
    return -1 if missing else end


@cache
def _fading() -> re.Pattern[str]:
    return re.compile(f"[{INVISIBLE}{_JAMO}{_BEYOND}{''.join(_marks())}]")


@cache
def _fading_ascii() -> bytes:
    return bytes(code for code in range(128) if _fading().match(chr(code)))


def _marks() -> Iterator[str]:
    """Every other character that may melt into the one before it, as ranges of a character class."""
    marks = (code for code in range(0x10000) if unicodedata.category(chr(code)).startswith("M"))
    for _, run in groupby(enumerate(marks), key=lambda pair: pair[1] - pair[0]):
        codes = [code for _, code in run]
        yield f"{chr(codes[0])}-{chr(codes[-1])}"
