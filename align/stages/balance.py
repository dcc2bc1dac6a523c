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


def split(total: int, benign_share: float, harmful: int, benign: int) -> tuple[int, int]:
    """How many harmful and benign rows to take of those there are; what one lacks the other fills."""
    taken_benign = min(benign, max(round(total * benign_share), total - harmful))
    return min(harmful, total - taken_benign), taken_benign
