"""Forbidden expressions, looked for in RE2: in time proportional to the text, whatever it holds.

Each has a bounded width, and the widest is the `reach`: so many characters at the end of a text that goes on
may be the beginning of a match, and must be held back. That every match is seen whole is `serve.gate.hold`'s
promise; that one which is seen blocks is this file's.

The text is searched as it is and, unless the operator turns it off, as it looks (`serve.gate.shadow`). What
is dropped from its looks could stretch a match without end, so more of that than any writing needs blocks
by itself.
"""

import re
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from re import _parser  # type: ignore[attr-defined]  # the only place that knows how wide a pattern can be
from typing import Any, Final, TypeAlias

import re2

from serve.gate.guard import GuardRefused
from serve.gate.shadow import is_padded, other_shadow, shadow
from serve.gate.solid import before
from serve.gate.values import PASS, Excerpt, Ruling, Stage
from serve.options.gate import PatternGuard

WIDEST: Final = 2000
"""Characters: what may be a match's beginning is held back from the caller."""
PADDING: Final = 256
"""Dropped characters, beside one for each that is seen, within the width of a match."""
_Expression: TypeAlias = Any
"""RE2's; it has no types."""

_ONE_CHARACTER = re.compile(r"\\(?:[pP](?:\{\^?\w+\}|\w)|x\{[0-9A-Fa-f]+\})|\\.", re.DOTALL)
_OPEN_BELOW = re.compile(r"(?<!\\)(?:\\\\)*\{,\d")
_LITERAL = re.compile(r"(?<!-)[^\x00-\x7f](?!-)")


class Patterns:
    """One guard of the settings."""

    def __init__(self, options: PatternGuard) -> None:
        """Raises GuardRefused, which names the pattern and the remedy."""
        self.name = options.name
        self.stages = frozenset(options.stages)
        if Stage.IMAGE in self.stages:
            raise GuardRefused(f"guard {options.name}: patterns cannot judge image: leave it to others")
        self.reach = max(_width(pattern, options.name) for pattern in options.patterns)
        together = f"guard {options.name}: its patterns together"
        self._verbatim = _Search(_compiled(_any_of(options.patterns), together))
        self._looks: tuple[_Search, ...] = ()
        if options.normalise:
            looks = (shadow, _other_looks)
            self._looks = tuple(_Search(_compiled_look(options.patterns, look)) for look in looks)

    def judge(self, excerpt: Excerpt) -> Ruling:
        """At once; never raises."""
        text = excerpt.text
        if self._verbatim.finds(text, excerpt):
            return self._objection("pattern")
        if not self._looks:
            return PASS
        first, last = self._looks
        seen, other = shadow(text), other_shadow(text)
        if first.finds(seen, excerpt) or (other is not None and last.finds(other, excerpt)):
            return self._objection("pattern")
        # An ASCII text that lost nothing is as long as it was.
        may_be_padded = not (text.isascii() and len(seen) == len(text))
        if may_be_padded and is_padded(text, PADDING + self.reach, self.reach):
            return self._objection("padding")
        return PASS

    def _objection(self, category: str) -> Ruling:
        return Ruling(blocks=True, guard=self.name, category=category)


@dataclass(frozen=True, slots=True)
class _Search:
    """Every pattern in one expression."""

    expression: _Expression

    def finds(self, text: str, excerpt: Excerpt) -> bool:
        """Whether anything matches here that will match whatever follows.

        Before the first character of what does not begin here nothing is known, so a match that begins with
        it may be none (`\\b`); it was seen whole before. One that touches an end that is none may still
        change, and is seen again.
        """
        data = text.encode("utf-8", "replace") if _is_broken(text) else text.encode()
        first = len(text[:1].encode("utf-8", "replace")) if excerpt.start else 0
        for match in self.expression.finditer(data, first):
            if excerpt.final or match.end() < len(data):
                return True
        return False


def _is_broken(text: str) -> bool:
    """Half a surrogate pair, which no UTF-8 can hold."""
    return not text.isascii() and _SURROGATE.search(text) is not None


_SURROGATE = re.compile("[\ud800-\udfff]")


def trimmed(excerpt: Excerpt, context: int) -> Excerpt:
    """With no more than so much of what was shown before: guards that need less are shown less."""
    start = max(0, before(excerpt.text, excerpt.fresh, context))
    if not start:
        return excerpt
    return Excerpt(
        excerpt.stage, excerpt.text[start:], excerpt.start + start, excerpt.fresh - start, excerpt.final
    )


def _width(pattern: str, guard: str) -> int:
    """The most characters that a match of it can have."""
    where = f"guard {guard}: pattern {pattern!r}"
    if _OPEN_BELOW.search(pattern):
        raise GuardRefused(f"{where} has a repetition without a lower bound: write {{0,n}} for {{,n}}")
    _compiled(pattern, where)
    # RE2's names for one character, as one that the other parser knows too.
    plain = _ONE_CHARACTER.sub(lambda found: r"\w" if len(found[0]) > 2 else found[0], pattern)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            narrowest, widest = _parser.parse(plain).getwidth()
    except (re.error, OverflowError, RecursionError, Warning) as error:
        raise GuardRefused(
            f"{where} can be read in two ways ({error}): write it in what Python's re and RE2 have in common"
        ) from None
    if not narrowest:
        raise GuardRefused(f"{where} matches nothing at all, everywhere: demand a character")
    if widest > WIDEST:
        raise GuardRefused(
            f"{where} can match more than {WIDEST} characters: bound it, such as a{{1,64}} for a+"
        )
    return int(widest)


def _compiled(pattern: str, where: str) -> _Expression:
    try:
        return re2.compile(pattern.encode(), _options())
    except re2.error as error:
        raise GuardRefused(f"{where} is not for RE2, which has no look-arounds: {_told(error)}") from None
    except UnicodeEncodeError:
        raise GuardRefused(f"{where} holds half a character") from None


def _told(error: Exception) -> str:
    (message,) = error.args
    return message.decode(errors="replace") if isinstance(message, bytes) else str(message)


def _compiled_look(patterns: Iterable[str], look: Callable[[str], str]) -> _Expression:
    """For the shadows that `look` gives: letters of a pattern that look like others look like them, too."""
    options = _options()
    options.case_sensitive = False
    return re2.compile(_any_of(_seen(pattern, look) for pattern in patterns).encode(), options)


def _seen(pattern: str, look: Callable[[str], str]) -> str:
    """Left as it is where a letter's looks would break it."""
    seen = _LITERAL.sub(lambda found: _looks_of(found[0], look), pattern)
    try:
        re2.compile(seen.encode(), _options())
    except re2.error:
        return pattern
    return seen


def _looks_of(letter: str, look: Callable[[str], str]) -> str:
    seen = look(letter)
    return re.escape(seen) if len(seen) == 1 else letter


def _other_looks(text: str) -> str:
    return other_shadow(text) or shadow(text)


def _any_of(patterns: Iterable[str]) -> str:
    return "|".join(f"(?:{pattern})" for pattern in patterns)


def _options() -> Any:
    options = re2.Options()
    options.log_errors = False
    # Nobody asks what a group held.
    options.never_capture = True
    return options
