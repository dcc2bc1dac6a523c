"""Which seed goes with which request: different wherever independent answers are wanted.

The seed is part of what a reply is kept under, so five rounds of scoring are five requests although
their messages are the same.
"""


def retry_seed(seed: int, round_: int, retry: int) -> int:
    """Of a reply in one of several rounds that may be unreadable and asked for anew, 9 times at most."""
    return seed * 1000 + round_ * 10 + retry


def candidate_seed(seed: int, candidate: int) -> int:
    """Of one of several candidates for the same query."""
    return seed * 1000 + candidate
