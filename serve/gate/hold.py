"""One channel's text between engine and caller, and the only way out of it.

Text enters by `put` and leaves by `take`. `take` never goes beyond `examined - reach`, and `examined` moves
only by `clear`, which takes nothing but the excerpt that `due` gave last. Excerpts touch: each begins with
`context` characters of the one before. So whatever leaves was in an excerpt that was cleared before.

Why no character of a match that is at most `reach` wide leaves. Let the match be [s, e). Its first character
leaves only once `examined - reach > s`, so `examined > s + reach >= e`: an excerpt that ends behind e was
cleared. The first such excerpt began `context` before the `examined` of then, which was at most e, and so
before `e - reach <= s`: it held the whole match, and whoever cleared it looked at all of it. A match that
touches the end of an unfinished excerpt may still change (`foo\\b` before `bar`): it may be passed over,
because it lies within the reach and is seen again.

`reach` and `context` count solid characters only (`serve.gate.solid`), because guards also look at a text
without those that are not: a match cannot be stretched beyond the reach by padding.
"""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from policies.reply import AnswerText, ReasoningText, StepRead, VerdictRead
from serve.gate.solid import before, solid
from serve.gate.values import Excerpt, Stage

Mark: TypeAlias = StepRead | VerdictRead
Boundary: TypeAlias = Callable[[str, bool], int]
"""How much of the unexamined text (and: has the channel ended) the next excerpt takes; 0: wait for more."""
_MOST_AHEAD = 4096
"""What a boundary is shown, and takes at the latest."""


class _Placed(NamedTuple):
    at: int
    solid: int
    event: Mark


class Hold:
    """One channel. Offsets count characters since the channel began."""

    def __init__(self, stage: Stage, reach: int, context: int, most_chars: int, whole: bool = False) -> None:
        """An excerpt is due at the latest after `most_chars` new characters; `whole`: not before the end.

        On REASONING text leaves step by step, unless a step is longer than `most_chars`.
        """
        if reach and context <= reach:
            raise ValueError(f"context {context} must be more than reach {reach}, or a match hides between")
        self.generated = 0
        self.examined = 0
        self.released = 0
        self._stage = stage
        self._reach = reach
        self._context = context
        self._most = most_chars
        self._whole = whole
        self._text_of = ReasoningText if stage is Stage.REASONING else AnswerText
        self._boundary: Boundary | None = None
        self._kept = ""
        """From `_start` on, up to what was put before the last excerpt was made."""
        self._start = 0
        self._new: list[str] = []
        self._solid = 0
        self._marks: deque[_Placed] = deque()
        """Those that may not leave yet, and those that may."""
        self._ready: deque[_Placed] = deque()
        self._given: Excerpt | None = None
        self._limit = 0
        self._ended = False
        self._sealed = False
        self._dropped = False

    def put(self, text: str) -> None:
        """More of the channel."""
        if self._ended:
            raise ValueError("the channel has ended: nothing can follow")
        if text and not self._dropped:
            self._new.append(text)
            self.generated += len(text)
            self._solid += solid(text)

    def mark(self, event: Mark) -> None:
        """The event belongs at the current end and leaves when everything before it has."""
        if not self._dropped:
            self._marks.append(_Placed(self.generated, self._solid, event))

    def cut_by(self, boundary: Boundary) -> None:
        """Excerpts end where `boundary` says, instead of taking all there is."""
        self._boundary = boundary

    def end(self) -> None:
        """Nothing follows."""
        self._ended = True

    @property
    def held(self) -> int:
        """Characters that have not left."""
        return 0 if self._dropped else self.generated - self.released

    @property
    def is_sealed(self) -> bool:
        """Ended, and all of it cleared."""
        return self._sealed

    @property
    def is_done(self) -> bool:
        """Ended, and all of it has left."""
        return self._sealed and self.released == self.generated and not self._marks

    def due(self) -> Excerpt | None:
        """The next excerpt, if one is due; the same one until it is cleared."""
        if self._given is None and not self._dropped and not self._sealed and self._is_due():
            self._given = self._next()
        return self._given

    def clear(self, excerpt: Excerpt) -> None:
        """Nobody objects to it. ValueError unless it is the very one that `due` gave last."""
        if excerpt is not self._given or self._dropped:
            raise ValueError("only the excerpt that is due can be cleared")
        self._given = None
        self.examined = excerpt.end
        self._sealed = excerpt.final
        self._raise_limit()

    def take(self) -> list[ReasoningText | AnswerText | Mark]:
        """All that may leave, in order, text merged between marks."""
        if self._dropped:
            return []
        outs: list[ReasoningText | AnswerText | Mark] = []
        limit = self._limit_now()
        while self._ready:
            mark = self._ready.popleft()
            outs += self._text_to(mark.at)
            outs.append(mark.event)
        outs += self._text_to(limit)
        self._forget()
        return outs

    def drop(self) -> None:
        """Nothing of what is held ever leaves."""
        self._dropped = True
        self._given = None
        self._kept = ""
        self._new.clear()
        self._marks.clear()
        self._ready.clear()

    def _is_due(self) -> bool:
        if self._ended:
            return True
        if self._whole:
            return False
        if self._boundary is not None or self.generated - self.examined >= self._most:
            return self.generated > self.examined
        return bool(self._marks) and self._solid - self._marks[0].solid >= self._reach

    def _next(self) -> Excerpt | None:
        self._kept += "".join(self._new)
        self._new.clear()
        new = self.examined - self._start
        stop = self._stop(new)
        is_final = self._ended and stop == len(self._kept)
        if stop == new and not is_final:
            return None
        start = max(0, before(self._kept, new, self._context))
        return Excerpt(self._stage, self._kept[start:stop], self._start + start, new - start, is_final)

    def _stop(self, new: int) -> int:
        """Index in `_kept` behind the next excerpt."""
        if self._boundary is None:
            return len(self._kept)
        ahead = self._kept[new : new + _MOST_AHEAD]
        is_rest = self._ended and new + len(ahead) == len(self._kept)
        taken = self._boundary(ahead, is_rest)
        if not taken and (is_rest or len(ahead) == _MOST_AHEAD):
            taken = len(ahead)
        return new + taken

    def _raise_limit(self) -> None:
        """What was just cleared lets more of the text go."""
        if self._sealed:
            self._limit = self.generated
        elif not self._whole:
            index = before(self._kept, self.examined - self._start, self._reach)
            self._limit = max(self._limit, self._start + index)
        while self._marks and self._marks[0].at <= self._limit and (self._limit or self._sealed):
            self._ready.append(self._marks.popleft())

    def _limit_now(self) -> int:
        """Reasoning leaves step by step, unless too much is held for that."""
        by_step = self._stage is Stage.REASONING and not self._sealed
        if not by_step or self.held > self._most:
            return self._limit
        return self._ready[-1].at if self._ready else self.released

    def _text_to(self, limit: int) -> list[ReasoningText | AnswerText]:
        if limit <= self.released:
            return []
        text = self._kept[self.released - self._start : limit - self._start]
        self.released = limit
        return [self._text_of(text)]

    def _forget(self) -> None:
        """Only what has left and is no excerpt's context any more."""
        context = before(self._kept, self.examined - self._start, self._context)
        useless = min(self.released - self._start, max(0, context))
        if useless:
            self._kept = self._kept[useless:]
            self._start += useless
