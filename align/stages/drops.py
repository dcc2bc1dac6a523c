"""How many rows a stage may lose before its result would no longer be what the recipe asked for."""

from collections import Counter
from collections.abc import Iterable

from align.errors import StageAborted
from align.records import Dropped, DropReason

DETAIL_CHARS = 200


def counted(dropped: Iterable[Dropped]) -> Counter[str]:
    """Drops by reason."""
    return Counter(str(row.reason) for row in dropped)


def check_share(stage: str, dropped: Iterable[Dropped], total: int, limit: float, key: str) -> None:
    """Raise StageAborted where more than `limit` of `total` rows were dropped; `key` is the limit's name."""
    dropped = list(dropped)
    reasons = counted(dropped)
    count = reasons.total()
    if count > limit * total:
        listed = ", ".join(f"{number} {reason}" for reason, number in reasons.most_common())
        raise StageAborted(
            f"{stage}: {count} of {total} rows dropped ({listed}), more than {key} = {limit:g} allows; "
            f"mend the cause and run again{_asking_anew(stage, reasons)}; the first: {_detail(dropped[0])}"
        )


def _asking_anew(stage: str, reasons: Counter[str]) -> str:
    """What was rejected is remembered, and not asked again unless one says so."""
    return (
        f" with --from {stage}, so that what was rejected is asked anew"
        if DropReason.REJECTED in reasons
        else ""
    )


def _detail(row: Dropped) -> str:
    """On one line, because it may quote a reply."""
    return " ".join(row.detail.split())[:DETAIL_CHARS]
