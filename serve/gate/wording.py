"""The two sentences that a caller may read in place of a reply: the same whatever the cause.

Blocked, a guard that is down, a guard that is late, a reply that cannot be read: whoever could tell them
apart would learn from it how to get past the guard.
"""

from typing import Final

from serve.gate.values import Blocked

WITHHELD: Final = "This reply was withheld by a safety policy."
REPLACED: Final = "I can't help with that."
"""In place of an answer to a request that the model itself had decided to refuse."""


def refusal_of(blocked: Blocked) -> str:
    """What the caller reads."""
    return REPLACED if blocked.action == "replaced" else WITHHELD
