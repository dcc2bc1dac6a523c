"""A stage that stops because too little is left shows what it dropped, and no rows."""

from pathlib import Path

import pytest

from align.errors import StageAborted
from align.records import Dropped, read_rows
from align.stages import pairs
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
