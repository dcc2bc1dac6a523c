"""Progress: what a terminal shows of work whose end is known, and of work whose end is not."""

import re
import time
from collections.abc import Callable

import pytest

from align.stages.progress import track

COLOURS = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What a terminal was shown since the last call."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    return lambda: COLOURS.sub("", capsys.readouterr().err)


def wait_for(words: str, shown: Callable[[], str]) -> None:
    until = time.monotonic() + 5
    while words not in (found := shown()):
        assert time.monotonic() < until, found
        time.sleep(0.02)


def test_rows_are_counted_while_nobody_knows_how_many_there_are(shown: Callable[[], str]) -> None:
    rows = track(iter("abc"), "plants", None)
    assert [next(rows), next(rows)] == ["a", "b"]
    wait_for("1/?", shown)
    assert list(rows) == ["c"]
    assert "3/3" in shown()


def test_rows_are_counted_against_their_known_number(shown: Callable[[], str]) -> None:
    rows = track(iter("abc"), "plants", 4)
    assert [next(rows), next(rows)] == ["a", "b"]
    wait_for("1/4", shown)
    assert list(rows) == ["c"]
    assert "3/4" in shown()
