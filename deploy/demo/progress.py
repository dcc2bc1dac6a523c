"""Steps that take a while: on a terminal a spinner with a note, elsewhere a line every few seconds.

Notes go to standard error and the finished steps to the demo's own console, so that a recording of the
demo holds what happened and not how it looked meanwhile.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from groundrule.show import printable
from rich.console import Console
from rich.status import Status
from rich.text import Text

_NOTE_EVERY_S = 10.0


class Step:
    """One step under way."""

    def __init__(self, title: str, console: Console, status: Status | None) -> None:
        self._title = title
        self._console = console
        self._status = status
        self._start = time.monotonic()
        self._next_note_s = _NOTE_EVERY_S

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._start

    def note(self, text: str = "") -> None:
        """Say how it is going; call it often, it is cheap."""
        # rich would otherwise stop the spinner's line at the first line break.
        line = Text(f"{self._title}  {self.elapsed_s:.0f} s  ", no_wrap=True, overflow="ellipsis")
        line.append(printable(" ".join(text.split())), "dim")
        if self._status:
            line.truncate(max(20, self._console.width - 4), overflow="ellipsis")
            self._status.update(line)
        elif self.elapsed_s >= self._next_note_s:
            self._next_note_s += _NOTE_EVERY_S
            line.truncate(self._console.width, overflow="ellipsis")
            self._console.print(line)


class Progress:
    """Steps, one after the other."""

    def __init__(self, out: Console, notes: Console) -> None:
        self._out = out
        self._notes = notes

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """A step; what it is doing shows while it lasts, and how long it took at the end."""
        with ExitStack() as stack:
            status = None
            if self._notes.is_terminal:
                status = stack.enter_context(self._notes.status(title))
            else:
                self._notes.print(Text(f"{title} …"))
            step = Step(title, self._notes, status)
            yield step
        self._out.print(Text.assemble(("✓ ", "green"), title, (f"  {step.elapsed_s:.1f} s", "dim")))
