"""A file of one's own: every form of image, every fault named with its line."""

import base64
import csv
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from align.errors import RecipeError
from align.sources import catalogue
from align.sources.found import Found
from align.sources.images import MAX_BYTES
from align.sources.local import LocalTable
from tests.align.published_sets import IMAGE, picture, published, write_parquet

BASE64 = base64.b64encode(picture(1)).decode()


def table(path: Path, **keys: Any) -> LocalTable:
    keys = {"name": "local", "path": path, "licence": "our own"} | keys
    return LocalTable.model_validate(keys)


def found_in(path: Path, **keys: Any) -> list[Found]:
    catalogue.check(table(path, **keys))
    return list(catalogue.read(table(path, **keys)))


def json_lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def row(**other: object) -> dict[str, object]:
    return {"instruction": "What is this?", "image": BASE64} | other


class Pictures(BaseHTTPRequestHandler):
    """A picture, a picture elsewhere, one without an end, and nothing at all other paths."""

    def do_GET(self) -> None:
        match self.path:
            case "/one.png":
                self._answer(picture(1))
            case "/moved.png":
                self.send_response(302)
                self.send_header("Location", "/one.png")
                self.end_headers()
            case "/endless.png":
                self._answer(bytes(MAX_BYTES + 1))
            case _:
                self.send_error(404)

    def _answer(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        try:
            self.wfile.write(content)
        except ConnectionError:
            return  # the reader had enough

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        return


@pytest.fixture
def web() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pictures)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_image_may_be_a_path_base64_or_a_data_url(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "one.png").write_bytes(picture(1))
    forms = ("pictures/one.png", BASE64, f"data:image/png;base64,{BASE64}")
    found = found_in(json_lines(tmp_path / "ours.jsonl", *(row(image=form) for form in forms)))
    assert [one.image for one in found] == [picture(1)] * 3
    assert [one.key for one in found] == ["1", "2", "3"]


@pytest.mark.parametrize("type_", [pa.binary(), IMAGE])
def test_parquet_may_hold_bytes_or_the_hubs_struct(type_: pa.DataType, tmp_path: Path) -> None:
    schema = pa.schema([("instruction", pa.string()), ("image", type_), ("severity", pa.int64())])
    cell = published(picture(1)) if type_ == IMAGE else picture(1)
    write_parquet(tmp_path / "ours.parquet", schema, [row(image=cell, severity=3), row(image=None)])
    first, second = found_in(tmp_path / "ours.parquet")
    assert (first.image, first.severity, first.key) == (picture(1), 3, "1")
    assert (second.image, second.severity, second.fault) == (b"", None, "the row has no image")


def test_the_hubs_struct_may_name_a_file_instead(tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(picture(1))
    schema = pa.schema([("instruction", pa.string()), ("image", IMAGE)])
    write_parquet(tmp_path / "ours.parquet", schema, [row(image=published(None, "one.png"))])
    assert [one.image for one in found_in(tmp_path / "ours.parquet")] == [picture(1)]


def test_columns_may_have_other_names_and_say_more(tmp_path: Path) -> None:
    path = tmp_path / "ours.csv"
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file)
        writer.writerow(["number", "question", "photo", "policy", "severity", "benign"])
        writer.writerow(["a-1", "Two\nlines, one comma", BASE64, "P05", "2", "no"])
        writer.writerow(["a-2", "Another", BASE64, "", "", ""])
    names = {"id": "number", "instruction": "question", "image": "photo", "category": "policy"}
    first, second = found_in(path, columns=names)
    assert (first.key, first.instruction) == ("a-1", "Two\nlines, one comma")
    assert (first.category, first.severity, first.benign) == ("P05", 2, False)
    assert (second.category, second.severity, second.benign) == (None, None, None)


def test_urls_are_fetched_in_the_rows_order(web: str, tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(picture(2))
    images = [f"{web}/one.png", "one.png", f"{web}/moved.png"] * 10
    found = found_in(json_lines(tmp_path / "ours.jsonl", *(row(image=image) for image in images)))
    assert [one.image for one in found] == [picture(1), picture(2), picture(1)] * 10


@pytest.mark.parametrize(
    ("image", "why"),
    [
        ("{web}/none.png", "/none.png: the server answered 404"),
        ("{web}/endless.png", "/endless.png: more than 25,000,000 bytes"),
        ("http://127.0.0.1:9/one.png", "Connection refused"),
        ("http://[/one.png", "http://[/one.png: "),
        ("none.png", "none.png: No such file or directory"),
        ("pictures.d", "pictures.d: Is a directory"),
        ("nul\0.png", "embedded null byte"),
        ("not base64", "neither a path with a suffix nor base64: 'not base64'"),
        ("", "the row has no image"),
        (None, "the row has no image"),
    ],
)
def test_an_image_that_cannot_be_had_leaves_the_reason(
    image: str | None, why: str, web: str, tmp_path: Path
) -> None:
    (tmp_path / "pictures.d").mkdir()
    named = image.replace("{web}", web) if image else image
    (found,) = found_in(json_lines(tmp_path / "ours.jsonl", row(image=named)))
    assert found.image == b""
    assert why in found.fault


@pytest.mark.parametrize("name", ["../secret.png", "/etc/secret.png", "sub/../../secret.png", "link.png"])
def test_a_path_that_leads_out_of_the_files_folder_stops_the_run(name: str, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(picture(1))
    folder = tmp_path / "ours"
    folder.mkdir()
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    path = json_lines(folder / "ours.jsonl", row(), row(image=name))
    with pytest.raises(RecipeError, match=r"ours.jsonl, line 2: '.*' leads out of"):
        found_in(path)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{not json", "line 2: is not JSON"),
        ("[" * 100_000, "line 2: is not JSON"),
        ('["a"]', "line 2: must be an object"),
        ({"instruction": "No image"}, "line 2: there is no 'image'; there are instruction"),
        (row(image=7), "line 2: int is no image; give a path, a URL, base64 or bytes"),
        (row(instruction=["a"]), "line 2: 'instruction' must be text"),
        (row(category=3), "line 2: 'category' must be text"),
        (row(severity=4), "line 2: severity must be 1, 2 or 3, not 4"),
        (row(severity=True), "line 2: severity must be 1, 2 or 3, not True"),
        (row(benign="maybe"), "line 2: benign must be true or false, not 'maybe'"),
        (row(id="a"), "line 2: id 'a' was given to 1 already"),
    ],
)
def test_a_faulty_line_of_json_lines_is_named(line: object, why: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as found:
        found_in(json_lines(tmp_path / "ours.jsonl", row(id="a"), line))
    assert why in str(found.value)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("one,two,three", r"line 3: has not as many fields as the first line has names"),
        ("one", r"line 3: has not as many fields"),
        ('"one"two,three', r"line 3: is not CSV"),
        ('"one,two', r"line 3: is not CSV"),
        ("\udcff,two", r"line 3: is not UTF-8"),
    ],
)
def test_a_faulty_line_of_csv_is_named(line: str, why: str, tmp_path: Path) -> None:
    path = tmp_path / "ours.csv"
    path.write_text(f"instruction,image\nWhat?,{BASE64}\n{line}\n", errors="surrogateescape")
    with pytest.raises(RecipeError, match=why):
        found_in(path)


def test_base64_longer_than_a_field_of_csv_usually_is_can_be_read(tmp_path: Path) -> None:
    large = picture(1, "BMP", size=(400, 300))
    path = tmp_path / "ours.csv"
    path.write_text(f"instruction,image\nWhat?,{base64.b64encode(large).decode()}\n")
    assert [one.image for one in found_in(path)] == [large]


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("ours.xlsx", "", "the suffix must be one of .jsonl, .csv, .parquet"),
        ("ours.csv", "question,image\n", "there is no column 'instruction'; there are question, image"),
        ("ours.csv", "", "there is no column 'instruction'; there are none"),
        ("ours.parquet", "instruction", "cannot be read as Parquet"),
    ],
)
def test_a_file_of_another_form_is_refused_before_any_work(
    name: str, content: str, why: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(RecipeError) as found:
        catalogue.check(table(tmp_path / name))
    assert why in str(found.value)


def test_a_column_that_the_recipe_names_must_be_there(tmp_path: Path) -> None:
    path = tmp_path / "ours.csv"
    path.write_text("instruction,image\n")
    catalogue.check(table(path))
    with pytest.raises(RecipeError, match="there is no column 'harm'"):
        catalogue.check(table(path, columns={"severity": "harm"}))
    lines = json_lines(tmp_path / "ours.jsonl", row())
    with pytest.raises(RecipeError, match="line 1: there is no 'harm'"):
        found_in(lines, columns={"severity": "harm"})


def test_a_missing_file_and_a_borrowed_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none.jsonl is missing"):
        catalogue.check(table(tmp_path / "none.jsonl"))
    path = json_lines(tmp_path / "ours.jsonl", row())
    with pytest.raises(RecipeError, match="the label 'spa-vl' is another source's name"):
        catalogue.check(table(path, label="spa-vl"))


def test_the_files_content_decides_and_not_where_it_lies(tmp_path: Path) -> None:
    here, there = tmp_path / "here.jsonl", tmp_path / "there.jsonl"
    json_lines(here, row())
    json_lines(there, row())
    assert table(here).effective() == table(there).effective()
    json_lines(there, row(), row())
    assert table(here).effective() != table(there).effective()
