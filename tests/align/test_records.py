"""Rows on disk: what is written is read again, faults are named, a torn line costs one row."""

from pathlib import Path

import pytest

from align.records import (
    Dropped,
    DropReason,
    Query,
    RecordError,
    Row,
    RowWriter,
    SftRow,
    Trajectory,
    Usage,
    encoded,
    mend_torn_line,
    read_rows,
    write_rows,
)

ROWS: list[Row] = [
    Query(
        id="mini:train:0", source="mini", split="train", instruction="Was ist das? 猫\n",
        image="queries/a.png", image_sha256="0" * 64, category="P19", licence="MIT", meta={"seed": "train:0"},
    ),
    Trajectory(
        query_id="mini:train:0", completion="<think>\n…", teacher="t", finish_reason="stop",
        usage=Usage(prompt_tokens=1, completion_tokens=2),
    ),
    Trajectory(query_id="q", completion="c", teacher="t", finish_reason="stop", usage=None),
    SftRow(id="q", instruction="i", image="a.png", completion="c"),
    Dropped(id="q", stage="gates", reason=DropReason.NO_TRACE, detail="d"),
]  # fmt: skip
ROW = SftRow(id="1", instruction="é", image="a.png", completion="c")


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


@pytest.mark.parametrize("cut", range(1, len(encoded(ROW))))
def test_a_line_torn_anywhere_is_removed_when_writing_goes_on(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(encoded(ROW) + encoded(ROW)[:cut])
    with RowWriter[SftRow](path) as writer:
        writer.write(ROW)
    assert list(read_rows(path, SftRow)) == [ROW, ROW]


def test_a_torn_line_longer_than_a_block_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(encoded(ROW) + b"x" * 200_000)
    mend_torn_line(path)
    assert path.read_bytes() == encoded(ROW)


def test_a_file_of_nothing_but_half_a_row_becomes_empty(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"id": ')
    mend_torn_line(path)
    assert path.read_bytes() == b""


def test_a_written_row_is_on_disk_before_the_writer_ends(tmp_path: Path) -> None:
    with RowWriter[SftRow](tmp_path / "rows.jsonl") as writer:
        writer.write(ROW)
        assert (tmp_path / "rows.jsonl").read_bytes() == encoded(ROW)
