"""A text that arrives in pieces: shown without the blanks around it, and kept up to a cap."""

import io

MAX_TEXT_CHARS = 1 << 20
"""What is kept; a quarter of a million tokens, so more than a model's context in practice."""
MAX_BLANKS = 1_000
"""What is held back, because it may turn out to stand at the end."""


class TrimmedText:
    """Incremental: `write` returns what can be shown, whether or not it is still kept."""

    def __init__(self) -> None:
        self.truncated = False
        """Whether more than blanks was shown and not kept."""
        self._kept = io.StringIO()
        self._room = MAX_TEXT_CHARS
        self._waiting = ""
        self._begun = False
        self._at_start = True

    def write(self, text: str) -> str:
        """The part of everything written that can be shown now and was not before."""
        text = text.lstrip() if self._at_start else text
        body = text.rstrip()
        shown = self._waiting + body if body else ""
        blanks = text[len(body) :] if body else self._waiting + text
        excess = max(0, len(blanks) - MAX_BLANKS)
        shown, self._waiting = shown + blanks[:excess], blanks[excess:]
        if body:
            self._begun, self._at_start = True, False
        self._keep(shown)
        return shown

    def break_line(self) -> None:
        """Part what was written from what follows by one newline, whatever stands there."""
        self._waiting = "\n" if self._begun else ""
        self._at_start = True

    def text(self) -> str:
        """What was kept. The stream may end in blanks that are not here, where they were too many to wait."""
        return self._kept.getvalue().rstrip()

    def _keep(self, shown: str) -> None:
        kept, lost = shown[: self._room], shown[self._room :]
        self._room -= len(kept)
        self._kept.write(kept)
        self.truncated = self.truncated or bool(lost.strip())
