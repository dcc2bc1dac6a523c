"""A stage that stops because too little is left shows what it dropped, and no rows."""

from pathlib import Path

import pytest

from align.errors import StageAborted
from align.records import Dropped, DropReason, read_rows
from align.stages import pairs
from align.stages.drops import check_share
from tests.align.stage_rows import REFUSAL, Asked, laid, lay, mined


def test_too_few_pairs_leave_what_was_dropped_and_the_message_says_where(tmp_path: Path) -> None:
    changes = {"[mine]\ncount = 16": "[mine]\ncount = 1000", "}\nmin_count = 1": "}\nmin_count = 2"}
    run = laid(tmp_path, [Asked("h"), Asked("prose"), Asked("same")], changes)
    replies = [mined("h", safety=1), mined("prose", "Yes.", safety=1), mined("same", REFUSAL, safety=1)]
    lay(run, "mine", replies)
    lay(run, "derive", ())
    path = run.folder("pairs") / "dropped.jsonl"
    with pytest.raises(StageAborted) as aborted:
        pairs.make(run)
    assert str(aborted.value).endswith(f"mine more queries (mine.count); {path} has the details")
    assert {row.id.split()[0]: str(row.reason) for row in read_rows(path, Dropped)} == {
        "prose": "format_differs",
        "same": "same_reply",
    }
    assert not (run.folder("pairs") / "rows.jsonl").exists()


def dropped(reason: DropReason, detail: str) -> Dropped:
    return Dropped(id="q", stage="score", reason=reason, detail=detail)


def test_the_first_drops_detail_stands_in_the_message_on_one_short_line() -> None:
    rows = [dropped(DropReason.UNREADABLE, "no\nscores " + "x" * 500), dropped(DropReason.CUT_OFF, "late")]
    with pytest.raises(StageAborted) as aborted:
        check_share("score", iter(rows), 10, 0.1, "score.max_failed_share")
    assert str(aborted.value) == (
        "score: 2 of 10 rows dropped (1 unreadable, 1 cut_off), more than score.max_failed_share = 0.1 "
        f"allows; mend the cause and run again; the first: no scores {'x' * 190}"
    )


def test_where_something_was_rejected_the_message_says_how_it_is_asked_anew() -> None:
    rows = [dropped(DropReason.UNAVAILABLE, "HTTP 503"), dropped(DropReason.REJECTED, "HTTP 400")]
    with pytest.raises(StageAborted, match="run again with --from score, so that what was rejected is asked"):
        check_share("score", rows, 10, 0.1, "score.max_failed_share")
    check_share("score", rows, 10, 0.2, "score.max_failed_share")
