"""Characters that are there and show nothing: who cannot see a text has not been told anything."""

import re

# Unicode's Default_Ignorable_Code_Point, annotations, and controls that are no blanks.
INVISIBLE = (
    "\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff"
)
"""The inside of a character class."""

_SEEN = re.compile(rf"[^\s\u2800{INVISIBLE}]")  # a Braille cell without dots is a blank to the eye


def shows(text: str) -> bool:
    """Whether a reader would see any of it."""
    return _SEEN.search(text) is not None
