"""One of several processes that ask at the same time, and its share of what all of them may use."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Worker:
    """One of `of` processes; by itself the only one."""

    of: int = 1

    def share(self, concurrency: int) -> int:
        """Its part of the requests in flight, at least one."""
        return max(1, concurrency // self.of)

    def rate(self, per_minute: int | None) -> float | None:
        """Its part of a limit per minute."""
        return None if per_minute is None else per_minute / self.of
