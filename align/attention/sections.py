"""Which generated tokens are thinking and which are answer, by the reader's own cut.

Knows tokens and tags, and nothing of models. Tags, blanks around them and end marks belong to neither.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from enum import StrEnum
from itertools import chain

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from policies.delimiters import Kind, Splitter
from policies.formats import ReasoningFormat


class Section(StrEnum):
    """A stretch of a reply that is averaged over."""

    ALL = "all"
    """Every generated token, tags included."""
    THINK = "think"
    ANSWER = "answer"


class Split(StrEnum):
    """Whether a reply has both a thinking and an answer; one that has not is in `ALL` alone."""

    WHOLE = "whole"
    NO_THINKING = "no_thinking"
    NO_ANSWER = "no_answer"
    """Most often a reply that was cut off while it was thinking."""
    EMPTY = "empty"
    """Not one token but the end mark: nothing to measure."""


SECTION_OF = {Kind.REASONING: Section.THINK, Kind.ANSWER: Section.ANSWER}


def decoded(tokenizer: Tokenizer, tokens: Sequence[int]) -> list[str | None]:
    """The text each token completes; None where it ends inside a character that a later token completes."""
    stream = DecodeStream(skip_special_tokens=False)
    return [stream.step(tokenizer, token) for token in tokens]


def sections_of(pieces: Sequence[str | None], form: ReasoningFormat) -> list[Section | None]:
    """The section of each token; None for tags, for what straddles a border, for an unfinished character."""
    marks = _marks("".join(piece or "" for piece in pieces), form)
    found: list[Section | None] = []
    end = waiting = 0
    for piece in pieces:
        waiting += 1
        if piece is None:
            continue
        inside = set(marks[end : end + len(piece)])
        end += len(piece)
        found += [inside.pop() if len(inside) == 1 else None] * waiting
        waiting = 0
    return found + [None] * waiting


def split_of(sections: Sequence[Section | None]) -> Split:
    """What kind of reply this is."""
    counts = Counter(sections)
    if not sections:
        return Split.EMPTY
    if not counts[Section.THINK]:
        return Split.NO_THINKING
    return Split.WHOLE if counts[Section.ANSWER] else Split.NO_ANSWER


def _marks(text: str, form: ReasoningFormat) -> list[Section | None]:
    """The section of each character."""
    marks: list[Section | None] = [None] * len(text)
    place = 0
    for section, part in _parts(text, form):
        while not text.startswith(part, place):
            # What the reader withheld is a tag or blank; a tag's letters are no place to look for words.
            place += max((len(tag) for tag in form.delimiters if text.startswith(tag, place)), default=1)
        body = part.strip()
        start = place + part.index(body)
        marks[start : start + len(body)] = [section] * len(body)
        place += len(part)
    return marks


def _parts(text: str, form: ReasoningFormat) -> Iterator[tuple[Section, str]]:
    splitter = Splitter(form)
    for part in chain(splitter.feed(text), splitter.close()):
        if part.kind in SECTION_OF and part.text.strip():
            yield SECTION_OF[part.kind], part.text
