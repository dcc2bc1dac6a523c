"""A text as it looks: other letters, widths and cases melted into plain ones, invisible characters left out.

Every character is mapped by itself, so the shadow of a text is the shadows of its parts, wherever it is cut.
Each that is not dropped leaves at least one character. Some letters look like two of ours (the Cyrillic
`І` like `i` and like `l`): a text that holds any has a second shadow.
"""

import re
import unicodedata
from collections.abc import Mapping

from policies.look_alikes import ALIKE
from policies.unseen import INVISIBLE

_MARKS = "\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"
"""Marks that any letter may be given. Those of a script's own, vowels for instance, make its words."""
DROPPED = re.compile(f"[{INVISIBLE}{_MARKS}]")
"""What leaves no shadow."""

# Beside the letters that our tags are made of, which `policies` knows.
_FURTHER = {"h": "НнΗᎻ", "j": "Јјϳ", "q": "Ԛԛ", "w": "Ԝ", "z": "ΖᏃ", "-": "‐‒–—−⁃", "'": "‘’ʼ′"}


def _all_alike() -> dict[str, list[str]]:
    """What a character may mean; both cases of a letter mean the same, or a shadow would tell them apart."""
    found: dict[str, list[str]] = {}
    for letters in (_FURTHER, ALIKE):
        for letter, alike in letters.items():
            for character in alike:
                small = character.casefold()
                meant = found.setdefault(character if small.isascii() else small, [])
                if letter.lower() not in meant:
                    meant.append(letter.lower())
    return found


class _Table(dict[int, str]):
    """For `str.translate`; a character is looked at when it first comes."""

    def __init__(self, alike: Mapping[str, str]) -> None:
        self._alike = alike

    def __missing__(self, code: int) -> str:
        seen = self[code] = self._seen(chr(code))
        return seen

    def _seen(self, character: str) -> str:
        if DROPPED.match(character):
            return ""
        if known := self._alike.get(character) or self._alike.get(character.casefold()):
            return known
        plain = unicodedata.normalize("NFKC", character).casefold()
        return "".join(map(self._melted, plain)) or character

    def _melted(self, character: str) -> str:
        if DROPPED.match(character):
            return ""
        return self._alike.get(character) or self._alike.get(bare := _unmarked(character), bare)


def _unmarked(character: str) -> str:
    base, *marks = list(unicodedata.normalize("NFD", character))
    return base if all(map(DROPPED.match, marks)) else character


_ALIKE = _all_alike()
_AMBIGUOUS = re.compile(
    "["
    + "".join(
        case
        for character, meant in _ALIKE.items()
        for case in {character, character.upper()}
        if len(meant) > 1 and not case.isascii()
    )
    + "]"
)
_FIRST = _Table({character: meant[0] for character, meant in _ALIKE.items()})
_LAST = _Table({character: meant[-1] for character, meant in _ALIKE.items()})


def shadow(text: str) -> str:
    """As it looks, in lower case."""
    return text.translate(_FIRST)


def other_shadow(text: str) -> str | None:
    """As it looks, too, if it looks like two things."""
    return text.translate(_LAST) if _AMBIGUOUS.search(text) else None


def is_padded(text: str, most: int, within: int) -> bool:
    """Whether anywhere more than `most` characters that leave no shadow stand among `within` that do."""
    places = [match.start() for match in DROPPED.finditer(text)]
    return any(last - first - most <= within for first, last in zip(places, places[most:], strict=False))
