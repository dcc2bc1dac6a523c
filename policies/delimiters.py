"""First layer of the reader: cuts the stream of a reply into reasoning and answer at the format's tags.

Knows tags and nothing of what stands between them. Holds back at most one unfinished tag.
"""

import re
from collections.abc import Iterator
from enum import Enum, auto
from functools import cache
from typing import NamedTuple

from policies.formats import ReasoningFormat
from policies.reply import Flag


class Kind(Enum):
    """What a part of the stream is."""

    REASONING = auto()
    SECTION_END = auto()
    REASONING_END = auto()
    ANSWER = auto()


class Part(NamedTuple):
    """A stretch of text of one kind, or (without text) a boundary."""

    kind: Kind
    text: str = ""


class _Place(Enum):
    """Where in the reply the splitter stands."""

    START = auto()
    SECTION = auto()
    BETWEEN = auto()  # between two reasoning sections
    AFTER = auto()  # the reasoning is over, the answer has not begun
    ANSWER = auto()
    WRAPPED = auto()  # inside the answer's wrapper
    TAIL = auto()  # behind the answer's wrapper


_WITHOUT_REASONING_YET = (_Place.START, _Place.BETWEEN)
_ANSWERING = (_Place.AFTER, _Place.ANSWER, _Place.WRAPPED, _Place.TAIL)


class _Tags:
    """What is looked for of one format."""

    def __init__(self, reasoning_format: ReasoningFormat) -> None:
        tags = reasoning_format.delimiters
        self.openings = {section.opening: number for number, section in enumerate(reasoning_format.reasoning)}
        self.whole = re.compile("|".join(map(re.escape, tags)))
        self.beginning = re.compile(f"[{re.escape(''.join(tag[0] for tag in tags))}]")
        self.unfinished = {tag[:length] for tag in tags for length in range(1, len(tag))}
        self.longest_unfinished = max(map(len, tags)) - 1


_tags_of = cache(_Tags)


class Splitter:
    """Incremental: `feed` pieces of any size, then `close`."""

    def __init__(self, reasoning_format: ReasoningFormat) -> None:
        self.flags: set[Flag] = set()
        self._format = reasoning_format
        self._tags = _tags_of(reasoning_format)
        self._place = _Place.SECTION if reasoning_format.prefilled else _Place.START
        self._section = 0
        self._pristine = reasoning_format.prefilled
        self._held = ""

    def feed(self, piece: str) -> Iterator[Part]:
        """Parts of what has arrived; an unfinished tag at the end waits for the next piece."""
        text = self._held + piece
        start = 0
        for found in self._tags.whole.finditer(text):
            yield from self._on_text(text[start : found.start()])
            yield from self._on_tag(found.group())
            start = found.end()
        stop = self._safe_end(text, start)
        self._held = text[stop:]
        yield from self._on_text(text[start:stop])

    def close(self) -> Iterator[Part]:
        """The end of the reply; what was held back turns out to be text."""
        held, self._held = self._held, ""
        yield from self._on_text(held)
        if self._place in (_Place.SECTION, _Place.BETWEEN):
            self.flags.add(Flag.UNCLOSED_REASONING)
        if self._place is _Place.WRAPPED:
            self.flags.add(Flag.UNCLOSED_ANSWER)
        if self._place not in _ANSWERING:
            yield Part(Kind.REASONING_END)

    def _safe_end(self, text: str, start: int) -> int:
        tags = self._tags
        for found in tags.beginning.finditer(text, max(start, len(text) - tags.longest_unfinished)):
            if text[found.start() :] in tags.unfinished:
                return found.start()
        return len(text)

    def _on_text(self, text: str) -> Iterator[Part]:
        blank = not text or text.isspace()
        self._pristine = self._pristine and blank
        if self._place in (_Place.SECTION, _Place.BETWEEN):
            yield Part(Kind.REASONING, text)
        elif self._place in (_Place.ANSWER, _Place.WRAPPED):
            yield Part(Kind.ANSWER, text)
        elif self._place is _Place.TAIL:
            self.flags |= set() if blank else {Flag.TEXT_AFTER_ANSWER}
            yield Part(Kind.ANSWER, text)
        elif not blank:
            yield from self._begin_bare_answer(text)

    def _begin_bare_answer(self, text: str) -> Iterator[Part]:
        """Text where a tag could have come: never guessed into reasoning, never lost."""
        if self._place is _Place.START:
            yield Part(Kind.REASONING_END)
        self._place = _Place.ANSWER
        yield Part(Kind.ANSWER, text)

    def _on_tag(self, tag: str) -> Iterator[Part]:
        answer = self._format.answer
        pristine, self._pristine = self._pristine, False
        if self._place in _WITHOUT_REASONING_YET and tag in self._tags.openings:
            self._open(self._tags.openings[tag])
        elif self._place is _Place.SECTION and tag == self._format.reasoning[self._section].closing:
            yield self._end_section()
        elif answer and tag == answer.opening and self._place in (*_WITHOUT_REASONING_YET, _Place.AFTER):
            yield from self._open_answer()
        elif answer and tag == answer.closing and self._place is _Place.WRAPPED:
            self._place = _Place.TAIL
        elif tag in self._format.markers and self._place in (_Place.START, *_ANSWERING):
            yield from self._on_marker()
        elif pristine and tag == self._format.reasoning[0].opening:
            pass  # the template had opened it already; the model did so again
        else:
            self.flags.add(Flag.STRAY_DELIMITER)
            yield from self._on_text(tag)

    def _on_marker(self) -> Iterator[Part]:
        """Withheld. What begins with a mark of the answer has no reasoning."""
        if self._place is _Place.START:
            yield from self._begin_bare_answer("")

    def _open(self, section: int) -> None:
        if self._place is _Place.BETWEEN and section <= self._section:
            self.flags.add(Flag.STRAY_DELIMITER)
        self._section = section
        self._place = _Place.SECTION

    def _end_section(self) -> Part:
        if self._section + 1 < len(self._format.reasoning):
            self._place = _Place.BETWEEN
            return Part(Kind.SECTION_END)
        self._place = _Place.AFTER
        return Part(Kind.REASONING_END)

    def _open_answer(self) -> Iterator[Part]:
        if self._place is not _Place.AFTER:
            yield Part(Kind.REASONING_END)
        self._place = _Place.WRAPPED
