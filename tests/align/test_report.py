"""The report: what a run directory holds, told on one page that needs nothing else and trusts nobody."""

import random
from pathlib import Path

import pytest

from align.__main__ import main
from align.records import (
    Categorised,
    Derived,
    Description,
    DropReason,
    Mined,
    RecordError,
)
from align.report.page import write_report
from tests.align.page_read import HOSTILE
from tests.align.report_rows import dropped, leave, marks, page_of, pair, query, scored, sft_row, trajectory


def test_the_journey_tells_rows_queries_and_yield_of_every_stage(tmp_path: Path) -> None:
    leave(tmp_path, "queries", map(query, range(4)), [dropped("x", "queries", DropReason.DUPLICATE)])
    leave(tmp_path, "trajectories", [trajectory(number, k) for number in range(4) for k in range(2)])
    lost = [
        dropped("q0#0", "gates", DropReason.NO_TRACE),
        dropped("q0#1", "gates", DropReason.NO_TRACE),
        dropped("q1#0", "gates", DropReason.TOO_LONG),
    ]
    passed = [trajectory(1, 1), *(trajectory(number, k) for number in (2, 3) for k in range(2))]
    leave(tmp_path, "gates", passed, lost)
    page = page_of(tmp_path)
    assert page.row("journey", "Journey", "queries") == ["4", "5", "4", "1", "80.0 %"]
    assert page.row("journey", "Journey", "trajectories") == ["4", "8", "8", "0", "100.0 %"]
    assert page.row("journey", "Journey", "gates") == ["3", "8", "5", "3", "62.5 %"]
    assert page.row("gates", "Dropped, by reason", "no trace") == ["2", "66.7 %"]
    assert page.row("gates", "Passed and dropped, by category", "P19 Terrorism or extremism") == [
        "5",
        "3",
        "8",
    ]


def test_dropped_rows_are_shown_three_for_a_reason_with_their_details(tmp_path: Path) -> None:
    lost = [dropped(f"q{number}#0", "gates", DropReason.TOO_LONG, f"{number} tokens") for number in range(9)]
    leave(tmp_path, "gates", [], lost)
    shown = page_of(tmp_path).tables["gates", "Dropped rows"][1:]
    assert len(shown) == 3
    assert all(reason == "too long" and row[1:-2] == said.split()[0] for reason, row, said in shown)


def test_a_stage_that_is_not_complete_says_so_and_shows_what_is_there(tmp_path: Path) -> None:
    leave(tmp_path, "queries", [query(1)])
    leave(tmp_path, "describe", [], complete=False)
    (tmp_path / "describe" / "rows.jsonl").unlink()
    leave(tmp_path, "trajectories", [trajectory(1)], complete=False)
    page = page_of(tmp_path)
    assert "not complete" in page.texts["trajectories"]
    assert page.row("journey", "Journey", "describe unfinished") == ["no rows yet"]
    assert "No rows yet" in page.texts["describe"]
    assert page.row("journey", "Journey", "trajectories unfinished")[:3] == ["1", "1", "1"]
    assert "not complete" not in page.texts["queries"]
    assert "1 of 3 begun" in page.texts["header"]


def test_half_a_row_of_an_unfinished_stage_is_named_and_hides_no_other_stage(tmp_path: Path) -> None:
    leave(tmp_path, "queries", [query(1)])
    leave(tmp_path, "trajectories", [], complete=False)
    (tmp_path / "trajectories" / "rows.jsonl").write_bytes(b'{"query_id": "q1", "cand')
    page = page_of(tmp_path)
    assert "cannot be read" in page.texts["trajectories"]
    assert "rows.jsonl, line 1" in page.texts["trajectories"]
    assert page.row("journey", "Journey", "queries")[0] == "1"


def test_stages_that_a_recipe_leaves_out_are_named(tmp_path: Path) -> None:
    leave(tmp_path, "queries", [query(1)])
    assert "describe, categorise, trajectories" in page_of(tmp_path).texts["journey"]


def test_a_stage_that_the_report_does_not_know_has_its_section(tmp_path: Path) -> None:
    leave(tmp_path, "queries", [query(1)])
    leave(tmp_path, "srpo", [], [dropped("q1", "srpo", DropReason.REJECTED)])
    assert page_of(tmp_path).row("srpo", "Dropped, by reason", "rejected") == ["1", "100.0 %"]


@pytest.mark.parametrize("file", ["rows.jsonl", "dropped.jsonl"])
def test_rows_of_a_complete_stage_that_cannot_be_read_leave_the_last_report(
    tmp_path: Path, file: str
) -> None:
    leave(tmp_path, "queries", [query(1)])
    before = write_report(tmp_path).read_bytes()
    (tmp_path / "queries" / file).write_bytes(b"{}\n")
    with pytest.raises(RecordError, match=f"{file}, line 1"):
        write_report(tmp_path)
    assert (tmp_path / "report.html").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_complete_stage_without_its_rows_is_no_empty_stage(tmp_path: Path) -> None:
    leave(tmp_path, "queries", [query(1)])
    (tmp_path / "queries" / "rows.jsonl").unlink()
    with pytest.raises(RecordError, match=r"rows.jsonl is missing"):
        write_report(tmp_path)


def test_what_is_no_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="nowhere is not a directory"):
        write_report(tmp_path / "nowhere")


def test_a_directory_in_which_nothing_has_begun_still_has_a_page(tmp_path: Path) -> None:
    assert "no stage has begun" in page_of(tmp_path).texts["journey"]


def hostile_run(directory: Path) -> None:
    """A run in which every text that a model, a source or a server wrote is an attack."""
    odd = {"source": HOSTILE, "licence": HOSTILE}
    long = HOSTILE + "x" * 100_000
    leave(directory, "queries", [query(1, instruction=long, split=HOSTILE, **odd)])
    leave(directory, "describe", [Description(query_id="q1", text=long, describer=HOSTILE)])
    leave(directory, "categorise", [Categorised(query_id="q1", category="P01", by=HOSTILE)])
    leave(directory, "trajectories", [trajectory(1, completion=long, finish_reason=HOSTILE)])
    lost = [dropped(HOSTILE, "gates", DropReason.TOO_LONG, long)]
    leave(directory, "gates", [trajectory(1, completion=long)], lost)
    leave(directory, "score", [scored(1, marks())])
    leave(directory, "select", [sft_row(1, completion=long, verdict=HOSTILE, **odd)])
    mined = {"completion": long, "finish_reason": HOSTILE, "rounds": (marks(safety=1),)}
    leave(directory, "mine", [Mined(query_id="q1", miner=HOSTILE, **mined)])
    derived = Derived(query_id="q1", completion=long, adversary=HOSTILE, conclusion_of=HOSTILE)
    leave(directory, "derive", [derived])
    leave(directory, "pairs", [pair(1, chosen=long, rejected=long, rejected_by=HOSTILE, **odd)])


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    hostile_run(tmp_path)
    page = page_of(tmp_path)
    assert page.tags.isdisjoint({"script", "img", "iframe", "object", "form", "link", "base"})
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    for stage in ("queries", "describe", "categorise", "trajectories", "gates", "select", "mine", "pairs"):
        assert "<script>alert(1)</script>" in page.texts[stage], stage
    assert "{{ 7*7 }}" in page.texts["pairs"]


def test_what_cannot_be_seen_is_spelled_out_and_what_is_long_is_cut(tmp_path: Path) -> None:
    hostile_run(tmp_path)
    page = page_of(tmp_path)
    assert not set("\u200b\u202e\x00") & set(page.html)
    assert "⟨U+200B⟩⟨U+202E⟩⟨U+0000⟩é" in page.texts["pairs"]
    assert "characters in all" in page.texts["gates"]
    assert len(page.html) < 200_000


def test_the_page_asks_nothing_of_any_server(tmp_path: Path) -> None:
    hostile_run(tmp_path)
    page = page_of(tmp_path)
    outside = [value for name, value in page.attributes if name in ("src", "href", "xlink:href", "action")]
    assert outside
    assert all(value.startswith(("#", "data:")) for value in outside)
    assert "url(" not in page.html
    assert "@import" not in page.html
    policy = next(value for name, value in page.attributes if value.startswith("default-src"))
    assert policy.startswith("default-src 'none'")
    assert "script" not in policy


def test_the_same_rows_give_the_same_page_whatever_order_they_are_in(tmp_path: Path) -> None:
    rows = [query(number, source=f"s{number % 3}") for number in range(50)]
    pages = []
    for seed in range(2):
        leave(tmp_path / str(seed) / "run", "queries", random.Random(seed).sample(rows, k=50))
        pages.append(write_report(tmp_path / str(seed) / "run").read_bytes())
    assert pages[0] == pages[1]


def test_the_report_can_be_written_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    leave(tmp_path / "run", "queries", [query(1)])
    out = tmp_path / "reports" / "one.html"
    assert main(["report", str(tmp_path / "run"), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert "What is plant 1?" in out.read_text()
    assert not (tmp_path / "run" / "report.html").exists()
    assert main(["report", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "report.html").read_text() == out.read_text()


@pytest.mark.parametrize(
    ("out", "told"), [("run", "is a directory"), ("run/queries/rows.jsonl/x", "name another")]
)
def test_a_place_where_no_report_can_be_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], out: str, told: str
) -> None:
    leave(tmp_path / "run", "queries", [query(1)])
    assert main(["report", str(tmp_path / "run"), "--out", str(tmp_path / out)]) == 2
    said = capsys.readouterr().err
    assert told in said
    assert said.count("\n") == 1
