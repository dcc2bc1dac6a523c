"""Taking some of many so that no category, source or severity dominates; the same ones every time.

STAR-1's greedy removal: as long as there are too many, remove one of those whose shares, multiplied over
the axes, are largest. Which one of equals goes, a hash decides and never the order of the rows.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")
Axes = tuple[str, ...]
"""An item's value on every axis."""


def balanced(items: Sequence[T], count: int, axes: Callable[[T], Axes], lot: Callable[[T], str]) -> list[T]:
    """At most `count` of the items, in their order; `lot` names an item for the draw among equals."""
    groups: dict[Axes, list[int]] = defaultdict(list)
    lots = [hashlib.sha256(lot(item).encode()).digest() for item in items]
    for place in sorted(range(len(items)), key=lots.__getitem__):
        groups[axes(items[place])].append(place)
    names = sorted(groups)
    left = _sizes_left(names, [len(groups[name]) for name in names], count)
    kept = (place for name, size in zip(names, left, strict=True) for place in groups[name][:size])
    return [items[place] for place in sorted(kept)]


def balanced_apart(
    items: Sequence[T],
    count: int,
    apart: Callable[[T], bool],
    share: float | None,
    axes: Callable[[T], Axes],
    lot: Callable[[T], str],
) -> list[T]:
    """At most `count`, in their order, `share` of them from those apart; each part balanced in itself."""
    if share is None:
        return balanced(items, count, axes, lot)
    parts = [[item for item in items if apart(item) is kind] for kind in (False, True)]
    takes = split(count, share, len(parts[0]), len(parts[1]))
    drawn = (balanced(part, take, axes, lot) for part, take in zip(parts, takes, strict=True))
    kept = {id(item) for part in drawn for item in part}
    return [item for item in items if id(item) in kept]


def _sizes_left(names: Sequence[Axes], sizes: Sequence[int], count: int) -> list[int]:
    """How many of each group stay, after taking one away from the weightiest until `count` are left."""
    if not names:
        return []
    left = np.array(sizes)
    axes = [np.unique(column, return_inverse=True)[1] for column in zip(*names, strict=True)]
    shares = [np.bincount(axis, weights=left) for axis in axes]
    for _ in range(int(left.sum()) - count):
        weights = np.prod([share[axis] for share, axis in zip(shares, axes, strict=True)], axis=0)
        # Where weights are equal, the largest group gives; the first by name of those.
        weightiest = int(np.lexsort((-np.arange(len(left)), left, np.where(left > 0, weights, -1.0)))[-1])
        left[weightiest] -= 1
        for share, axis in zip(shares, axes, strict=True):
            share[axis[weightiest]] -= 1
    return [int(size) for size in left]


def split(total: int, share: float, others: int, ones: int) -> tuple[int, int]:
    """How many of `others` and of `ones` to take, a share of the latter; what one lacks the other fills."""
    taken = min(ones, max(round(total * share), total - others))
    return min(others, total - taken), taken
