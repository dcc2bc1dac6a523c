"""Rows on disk: what is written is read again, faults are named, a torn line costs one row."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from align.records import (
    Categorised,
    Derived,
    Description,
    Dropped,
    DropReason,
    Mined,
    Pair,
    Query,
    RecordError,
    Row,
    Scored,
    Scores,
    SftRow,
    Trajectory,
    Usage,
    encoded,
    read_rows,
    write_rows,
)


def sft_row(id_: str, instruction: str) -> SftRow:
    return SftRow(
        id=id_, instruction=instruction, image="a.png", completion="c", category="P01", severity=None,
        verdict="comply", source="mini", licence="MIT",
    )  # fmt: skip


FIVES = Scores(safety=5, policy_relevance=5, logical_accuracy=5, multimodal_consistency=5, helpfulness=5)
ROWS: list[Row] = [
    Query(
        id="mini:train:0", source="mini", split="train", instruction="Was ist das? 猫\n",
        image="queries/a.png", image_sha256="0" * 64, category="P19", licence="MIT", meta={"seed": "train:0"},
    ),
    Trajectory(
        query_id="mini:train:0", candidate=0, completion="<think>\n…", teacher="t", finish_reason="stop",
        usage=Usage(prompt_tokens=1, completion_tokens=2),
    ),
    Trajectory(query_id="q", candidate=1, completion="c", teacher="t", finish_reason="stop", usage=None),
    sft_row("q", "i"),
    Description(query_id="q", text="A dog.", describer="d"),
    Categorised(query_id="q", category=None, by="source"),
    Scored(query_id="q", candidate=0, completion="c", scorer="s", rounds=(FIVES, FIVES)),
    Mined(query_id="q", miner="m", completion="c", finish_reason="stop", rounds=(FIVES,)),
    Derived(query_id="q", completion="c", adversary="a", conclusion_of="m"),
    Pair(
        id="q post_hoc a", instruction="i", image="a.png", chosen="c", rejected="r", kind="post_hoc",
        chosen_by="t", rejected_by="a", decided_by="safety", category="P01", severity=3, source="s",
        licence="MIT",
    ),
    Dropped(id="q", stage="gates", reason=DropReason.NO_TRACE, detail="d"),
]  # fmt: skip
ROW = sft_row("1", "é")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: type(row).__name__)
def test_a_row_is_read_as_it_was_written(row: Row, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    assert write_rows(path, [row, row]) == 2
    assert list(read_rows(path, type(row))) == [row, row]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"id": 1}', "line 2: field 'id'"),
        (encoded(ROW).replace(b'"completion"', b'"completed"'), "line 2: field 'completion': Field required"),
        (encoded(ROW).replace(b"{", b'{"extra": 1, ', 1), "line 2: field 'extra': Extra inputs"),
        (b"\xff\n", "line 2: Invalid JSON"),
    ],
)
def test_a_fault_names_file_line_and_field(line: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(encoded(ROW) + line)
    with pytest.raises(RecordError, match=f"rows.jsonl, {message}"):
        list(read_rows(path, SftRow))


def test_a_fault_does_not_quote_the_value(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"id": "1", "instruction": ["private words"], "image": "", "completion": ""}\n')
    with pytest.raises(RecordError) as found:
        list(read_rows(path, SftRow))
    assert "private words" not in str(found.value)


def test_a_missing_file_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"rows.jsonl is missing: run the stage"):
        list(read_rows(tmp_path / "rows.jsonl", SftRow))


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    def broken() -> Iterator[SftRow]:
        yield ROW
        raise RuntimeError

    path = tmp_path / "rows.jsonl"
    with pytest.raises(RuntimeError):
        write_rows(path, broken())
    assert not path.exists()
    write_rows(path, [ROW])
    with pytest.raises(RuntimeError):
        write_rows(path, broken())
    assert path.read_bytes() == encoded(ROW)
