"""What only looks like a tag, a source, a verdict or a citation: other letters, invisible characters.

None of it means anything to the reader, and all of it means something to whoever looks at the reply. So
the reply is searched a second time with every character that has the looks of one of ours taken for it.
What differs from ours in its case or its blanks looks different, and does not count.

The table is short: compatibility forms (full-width, mathematical, circled letters) are computed, the
rest is written out for the letters that our tags are made of.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from itertools import chain

from policies.formats import FORMATS, ReasoningFormat
from policies.reply import Source, Verdict
from policies.steps import MAX_VERDICT_CHARS, VERDICT_HEAD
from policies.unseen import INVISIBLE

_DRAWN_ALIKE = {
    "<": "˂‹≺❬❮❰⟨〈ᐸ",
    ">": "˃›≻❭❯❱⟩〉ᐳ",
    "◁": "◀◂◃◄◅⊲⏴⯇🞀ᐊ",
    "▷": "▶▸▹►▻⊳⏵⯈🞂ᐅ",
    "[": "【⁅⟦〚",
    "]": "】⁆⟧〛",
    "/": "∕⁄╱⧸⟋",
    "|": "∣│┃❘ǀ⏐",
    ":": "∶ː˸։׃꞉⁚",
    "+": "➕᛭",
    ".": "‧∙",
    "_": "ˍ‗",
    "3": "ЗӠ",
    "6": "б",
    "A": "ΑАᎪ",
    "B": "ΒВᏴ",
    "C": "ϹСᏟ",
    "D": "Ꭰ",
    "E": "ΕЕᎬ",
    "G": "ԌᏀ",
    "I": "ΙІӀᏆ",
    "L": "ᏞԼ",
    "M": "ΜМᎷ",
    "N": "Ν",
    "O": "ΟОՕ",
    "P": "ΡРᏢ",
    "R": "Ꭱ",
    "S": "ЅՏᏚ",
    "T": "ΤТᎢ",
    "U": "ՍԱ",
    "V": "ѴᏙ",
    "Y": "ΥУҮ",
    "a": "αаɑ",
    "b": "ЬьƄ",
    "c": "сϲᴄ",
    "d": "ԁɗ",
    "e": "еεҽɛ",
    "f": "ƒſք",
    "g": "ɡց",
    "h": "һհ",
    "i": "іιıɩɪ",
    "k": "кκ",
    "l": "ӏӀІΙ",
    "m": "м",
    "n": "ոηп",
    "o": "оοօᴏσ",
    "p": "рρ",
    "r": "гᴦ",
    "s": "ѕꜱ",
    "t": "тτ",
    "u": "υսᴜʋ",
    "v": "νѵᴠ",
    "w": "ԝѡᴡω",
    "x": "хχ",
    "y": "уγүʏ",
}
# Where Unicode keeps compatibility forms of single characters.
_COMPATIBILITY = (
    range(0xA0, 0x3400),
    range(0xA700, 0xAC00),
    range(0xF900, 0x10800),
    range(0x1D400, 0x1D800),
    range(0x1F100, 0x1F200),
    range(0x1FBF0, 0x1FBFA),
)


def _spelled() -> set[str]:
    """Every character that a tag, a source, a verdict or a citation may hold."""
    tags = chain.from_iterable(format_.delimiters for format_ in FORMATS.values())
    return {*"".join(chain(tags, Source, Verdict)), *VERDICT_HEAD, *"[]PGDBR.0123456789"} - {*" \n"}


def _all_alike() -> dict[str, str]:
    alike = {character: _DRAWN_ALIKE.get(character, "") for character in sorted(_spelled())}
    for character in map(chr, chain(*_COMPATIBILITY)):
        meant = unicodedata.normalize("NFKC", character)
        if meant != character and meant in alike:
            alike[meant] += character
    return alike


def _narrow(characters: str) -> str:
    """The inside of a class, quick to search: whole blocks beyond the BMP, where `re` tries one by one."""
    near = "".join(character for character in characters if character <= "\uffff")
    return (
        re.escape(near)
        + "\U0001d400-\U0001d7ff\U0001f100-\U0001f1af\U0001f780-\U0001f7ff\U0001fbf0-\U0001fbff"
    )


ALIKE = _all_alike()
"""Each character that our tags are made of, with all that look like it."""

_IMPOSTOR = re.compile(f"[{INVISIBLE}{_narrow(''.join(ALIKE.values()))}]")
_INVISIBLES = re.compile(f"[{INVISIBLE}]{{2,}}")
_ONE_INVISIBLE = "\u200b"
_GAP = f"[{INVISIBLE}]?"
_LONGEST_LINE = MAX_VERDICT_CHARS + 1
REACH = 64
"""More than the longest tag or citation, with something invisible between any two letters."""


def _one_of(characters: Iterable[str]) -> str:
    return "[" + "".join(re.escape(character + ALIKE.get(character, "")) for character in characters) + "]"


def _seeming(text: str) -> str:
    """A pattern for whatever looks like the text; a blank in it may be any or none."""
    return _GAP.join(r"\s?" if character == " " else _one_of(character) for character in text)


def _seeming_any(texts: Iterable[str]) -> str:
    return f"(?:{'|'.join(map(_seeming, texts))})"


def _seeming_citation() -> str:
    digit, counted = _one_of("0123456789"), _one_of("123456789")
    clause = f"(?:{_one_of('G')}|{_one_of('DBR')}{_GAP}{counted}(?:{_GAP}{digit}){{0,2}})"
    return _GAP.join((_one_of("["), _one_of("P"), digit, digit, _one_of("."), clause, _one_of("]")))


@cache
def _tags_and_citations(reasoning_format: ReasoningFormat) -> re.Pattern[str]:
    tags = _seeming_any(tag.strip() for tag in reasoning_format.delimiters)
    return re.compile(f"{tags}|{_CITATION}")


_CITATION = _seeming_citation()
_BLANKS = rf"[\s{INVISIBLE}]*"
_SOURCE = re.compile(_GAP + _seeming_any(f"[{source}]" for source in Source))
_VERDICT = re.compile(
    f"{_GAP}{_seeming(VERDICT_HEAD)}{_GAP}{_seeming_any(Verdict)}(?:{_BLANKS}{_CITATION})*{_BLANKS}"
)


class LookAlikes:
    """Incremental: gets the whole reply, and its reasoning once more by itself."""

    def __init__(self, reasoning_format: ReasoningFormat) -> None:
        self.found = False
        self._anywhere = _tags_and_citations(reasoning_format)
        self._tail = ""
        self._is_tail_suspect = False
        self._line = ""
        self._is_line_suspect = False

    def on_reply(self, text: str) -> None:
        """Tags and citations, wherever they are."""
        if self.found:
            return
        window = self._tail + text
        if self._is_tail_suspect or _IMPOSTOR.search(text):
            window = _INVISIBLES.sub(_ONE_INVISIBLE, window)
            self.found = any(_IMPOSTOR.search(like.group()) for like in self._anywhere.finditer(window))
            self._is_tail_suspect = bool(_IMPOSTOR.search(window, max(0, len(window) - REACH)))
        self._tail = window[-REACH:]

    def on_reasoning(self, text: str) -> None:
        """Sources and verdicts, which have their place in a line."""
        if self.found:
            return
        if self._is_line_suspect or _IMPOSTOR.search(text):
            *ended, rest = text.split("\n")
            for part in ended:
                self._extend_line(part)
                self.end_line()
            self._extend_line(rest)
        else:
            _, newline, rest = text.rpartition("\n")
            self._line = (rest if newline else self._line + rest)[:_LONGEST_LINE]

    def end_line(self) -> None:
        """The line is over, whether or not a newline ended it."""
        line, self._line = self._line, ""
        if self._is_line_suspect:
            source = _SOURCE.match(line)
            verdict = _VERDICT.fullmatch(line) if len(line) < _LONGEST_LINE else None
            self.found = self.found or any(
                like and _IMPOSTOR.search(like.group()) for like in (source, verdict)
            )
        self._is_line_suspect = False

    def _extend_line(self, part: str) -> None:
        self._line = _INVISIBLES.sub(_ONE_INVISIBLE, self._line + part)[:_LONGEST_LINE]
        self._is_line_suspect = self._is_line_suspect or bool(_IMPOSTOR.search(part))
