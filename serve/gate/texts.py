"""Every text in a JSON value: what guards are shown of fields that nobody here knows."""

from collections.abc import Iterator
from typing import Any


def texts_in(value: Any) -> Iterator[str]:
    """Every string in it, keys too, in their order; however deep it is, in time proportional to its size."""
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, str):
            yield found
        elif isinstance(found, dict):
            waiting += [part for pair in reversed(found.items()) for part in reversed(pair)]
        elif isinstance(found, list):
            waiting += reversed(found)
