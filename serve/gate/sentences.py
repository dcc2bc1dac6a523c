"""Where a sentence ends, for excerpts of an answer that is read sentence by sentence."""

import re

MOST_CHARS = 240
"""Of one excerpt: what has no end before that is cut at a blank."""

# A full stop ends a sentence only before a blank: not in 3.5 or in example.com.
_STOPS = tuple(".!?…。！？")
_CLOSING = "\"'”’»)]*_"
_END = re.compile(rf"[.!?…]+[{re.escape(_CLOSING)}]*(?=\s)|[。！？]|\n")


def sentence_end(text: str, has_ended: bool) -> int:
    """Behind the first sentence that says anything; 0 where it is still under way."""
    begin = len(text) - len(text.lstrip())
    found = _END.search(text, begin, begin + MOST_CHARS)
    if found:
        return found.end()
    if len(text) - begin > MOST_CHARS:
        return _last_blank(text, begin)
    return len(text) if has_ended else 0


def ends(text: str) -> bool:
    """Whether the text ends where a sentence does, and was not cut."""
    return text.endswith("\n") or text.rstrip(_CLOSING)[-1:] in _STOPS


def _last_blank(text: str, begin: int) -> int:
    limit = begin + MOST_CHARS
    blank = max(text.rfind(" ", begin, limit), text.rfind("\n", begin, limit))
    return blank + 1 if blank > begin else limit
