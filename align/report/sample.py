"""A few of many, the same ones in every report and whatever order they come in."""

import bisect
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass
class Sample(Generic[T]):
    """Keeps the items whose ids have the smallest digests; holds no others."""

    size: int = 3
    _kept: list[tuple[bytes, T]] = field(default_factory=list)

    def add(self, id_: str, item: T) -> None:
        """Offer an item."""
        digest = blake2b(id_.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        if len(self._kept) == self.size and digest >= self._kept[-1][0]:
            return
        bisect.insort(self._kept, (digest, item), key=lambda kept: kept[0])
        del self._kept[self.size :]

    @property
    def items(self) -> tuple[T, ...]:
        return tuple(item for _, item in self._kept)
