"""Which tokens of a reply say which of its steps. Knows characters and pieces of text, and no engine.

A step's words are its text without the source tag before it and the citations that close it: tags and ids
are the grammar's, all but certain once the reply has begun, and would thin out what the words say.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from policies.formats import ReasoningFormat
from policies.reply import Source, Trace
from policies.trace import read


@dataclass(frozen=True, slots=True)
class StepRange:
    """Where the words of a step stand in a reply, in characters: from `start` to before `stop`."""

    number: int
    """Among all steps of the reply, from 0."""
    source: Source
    text: str
    start: int
    stop: int


def tagged_steps(text: str, form: ReasoningFormat) -> list[StepRange]:
    """Every step of a reply that names a source; untagged steps claim nothing that could be checked."""
    # No clauses: whether a citation is valid changes nothing of where steps begin and end.
    return list(_ranges(text, read(text, form, {})))


def tokens_of(step: StepRange, pieces: Sequence[str], begin: int = 0) -> list[int]:
    """The indices of the pieces that say this step; the first piece begins at character `begin` (0 or less).

    A piece that spans a border counts for the side that has all of its letters and signs: the blank before
    a step's first word and the line's end behind its last belong to nobody. With letters or signs on both
    sides it counts for neither. Pieces without text are bytes of a character that a later piece completes,
    and go with that piece.
    """
    found: list[int] = []
    waiting: list[int] = []
    end = begin
    for index, piece in enumerate(pieces):
        waiting.append(index)
        if not piece:
            continue
        start, end = end, end + len(piece)
        if _inside(step, start, piece):
            found += waiting
        waiting = []
    return found


def _inside(step: StepRange, start: int, piece: str) -> bool:
    core = piece.strip() or piece
    first = start + piece.index(core)
    return step.start <= first and first + len(core) <= step.stop


def _ranges(text: str, trace: Trace) -> Iterator[StepRange]:
    """Steps in their order: between two of them are only tags, citations, verdicts and blanks."""
    place = 0
    for number, step in enumerate(trace.steps):
        if step.source:
            place = text.index(f"[{step.source}] ", place) + len(f"[{step.source}] ")
        start = text.index(step.text, place)
        place = start + len(step.text)
        if step.source and step.text:
            yield StepRange(number, step.source, step.text, start, place)
