"""Terms of use and whereabouts: what a recipe must say first, what is downloaded, what the list tells."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from align.errors import RecipeError
from align.recipe import load_recipe
from align.sources import catalogue
from align.sources.about import PublishedTable
from align.sources.catalogue import ABOUT, published_tables
from tests.align import published_sets as sets
from tests.align.recipes import write_recipe

MINI = 'name = "mini"\nsplit = "train"\ncount = 60\n'
RESTRICTED = [about.table for about in ABOUT.values() if about.restricted != "none"]
BENCHMARKS = [(about.table, split) for about in ABOUT.values() if about.on_hub for split in about.benchmark]


def table_of(name: str, split: str | None = None, **keys: Any) -> PublishedTable:
    """The table of a published set, its files missing."""
    about = ABOUT[name]
    split = split or (*about.training, *about.benchmark)[0]
    (table,) = (table for table in published_tables(about) if table.split == split)
    return table.model_copy(update=keys)


@pytest.mark.parametrize("name", RESTRICTED)
def test_a_restricted_set_is_read_only_where_its_licence_is_repeated(name: str) -> None:
    licence = ABOUT[name].licence
    for wrong in (None, "", licence.upper(), f"{licence} "):
        with pytest.raises(RecipeError) as found:
            catalogue.check(table_of(name, accept_licence=wrong, train_on_benchmark=True))
        assert f'add accept_licence = "{licence}"' in str(found.value)
        assert "adapters trained on" in str(found.value)
        assert "\n" not in str(found.value)


def test_a_licence_named_in_the_message_is_the_one_that_is_accepted(tmp_path: Path) -> None:
    sets.beavertails(tmp_path)
    catalogue.check(table_of("beavertails-v", path=tmp_path, accept_licence="cc-by-nc-4.0"))


@pytest.mark.parametrize(("name", "split"), BENCHMARKS)
def test_a_benchmark_is_trained_on_only_where_the_recipe_says_so(name: str, split: str) -> None:
    table = table_of(name, split, accept_licence=ABOUT[name].licence)
    with pytest.raises(RecipeError, match=r"is a benchmark: .* add train_on_benchmark = true"):
        catalogue.check(table)
    catalogue.check(table.model_copy(update={"train_on_benchmark": True}))


def test_a_free_set_needs_no_switch_to_be_trained_on() -> None:
    catalogue.check(table_of("spa-vl", "train"))


def test_a_set_that_is_not_on_the_hub_says_where_it_is() -> None:
    table = table_of("mmsafetyaware", accept_licence="research use only", train_on_benchmark=True)
    with pytest.raises(RecipeError, match=r"clone https://\S+ at 610005099ffb and give path"):
        catalogue.check(table)


def test_every_published_set_is_pinned_and_says_what_it_is() -> None:
    for about in ABOUT.values():
        assert about.licence
        assert about.size
        assert about.purpose
        if about.repository:
            assert len(about.revision) in (7, 40)
            assert int(about.revision, 16)


def test_where_files_lie_and_what_was_accepted_do_not_change_what_is_made() -> None:
    one = table_of("beavertails-v", accept_licence="cc-by-nc-4.0", path=Path("here"))
    assert one.effective() == table_of("beavertails-v").effective()
    assert one.effective()["revision"] == ABOUT["beavertails-v"].revision
    assert one.effective() != table_of("beavertails-v", count=5).effective()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ('name = "maxi"', "'maxi'"),
        ('name = "beavertails-v"', "key 'sources.0.beavertails-v.split' is missing"),
        ('name = "beavertails-v"\nsplit = "trian"', "split': Input should be 'train' or 'evaluation'"),
        ('name = "siuo"\npaht = "x"', "unknown key 'sources.0.siuo.paht' (did you mean 'path'?)"),
        ('name = "spa-vl"\nsplit = "train"\naccept_license = "x"', "did you mean 'accept_licence'?"),
        (
            'name = "mm-safetybench"\nsplit = "Text_only"',
            "key 'sources.0.mm-safetybench.split': 'Text_only' has no pictures: take 'SD', 'SD_TYPO' or",
        ),
        ('name = "local"\npath = "x.jsonl"', "key 'sources.0.local.licence' is missing"),
        ('name = "local"\nlicence = "x"', "key 'sources.0.local.path' is missing"),
        (
            'name = "local"\npath = "x"\nlicence = "x"\ncolumns = { imge = "a" }',
            "unknown key 'sources.0.local.columns.imge' (did you mean 'image'?)",
        ),
    ],
)
def test_a_mistake_in_a_source_is_one_line_that_names_the_key(
    source: str, message: str, tmp_path: Path
) -> None:
    path = write_recipe(tmp_path / "r.toml", {MINI: f"{source}\n"})
    with pytest.raises(RecipeError) as found:
        load_recipe(path)
    assert message in str(found.value)
    assert "\n" not in str(found.value)


def test_paths_of_sources_are_relative_to_the_recipe(tmp_path: Path) -> None:
    source = 'name = "local"\npath = "data/ours.jsonl"\nlicence = "ours"\n'
    (table,) = load_recipe(write_recipe(tmp_path / "r.toml", {MINI: source})).sources
    assert table.path == tmp_path / "data" / "ours.jsonl"


class Hub(BaseHTTPRequestHandler):
    """As much of the Hugging Face Hub as a download of a data set asks for, one commit of it."""

    root: Path
    repository: str
    commit: str
    asked: list[str]

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, with_body: bool) -> None:
        path = self.path.partition("?")[0]
        files = f"/datasets/{self.repository}/resolve/{self.commit}/"
        api = f"/api/datasets/{self.repository}"
        headers = {"X-Repo-Commit": self.commit}
        if path == f"{api}/commits/main":
            content = json.dumps([self._commit(self.commit), self._commit("0" * 40)]).encode()
        elif path.startswith(f"{api}/tree/{self.commit}"):
            found = sorted(one for one in self.root.rglob("*") if one.is_file())
            content = json.dumps([self._entry(one) for one in found]).encode()
        elif path.startswith(files) and (self.root / path[len(files) :]).is_file():
            content = (self.root / path[len(files) :]).read_bytes()
            headers["ETag"] = f'"{hashlib.sha1(content).hexdigest()}"'
            self.asked.append(path[len(files) :])
        else:
            self.send_error(404)
            return
        self.send_response(200)
        for name, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(content)

    def _commit(self, commit: str) -> dict[str, Any]:
        when = "2025-01-01T00:00:00.000Z"
        return {"id": commit, "authors": [], "date": when, "title": "Upload", "message": ""}

    def _entry(self, path: Path) -> dict[str, Any]:
        name = path.relative_to(self.root).as_posix()
        content = path.read_bytes()
        return {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        return


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[tuple[str, type[Hub]]]:
    """A hub with MM-SafetyBench, whose commit the catalogue knows by its first digits."""
    about = ABOUT["mm-safetybench"]
    root = sets.mm_safetybench(tmp_path / "hub")
    (root / "README.md").write_text("not asked for")

    class Mirror(Hub):
        asked: list[str] = []  # noqa: RUF012

    Mirror.root, Mirror.repository = root, about.repository
    Mirror.commit = about.revision.ljust(40, "0")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", Mirror
    server.shutdown()
    thread.join()
    server.server_close()


READ = """
from align.errors import RecipeError
from align.sources import catalogue
from align.sources.mm_safetybench import MmSafetyBenchTable
table = MmSafetyBenchTable(
    name="mm-safetybench", split="SD", accept_licence="cc-by-nc-4.0", train_on_benchmark=True
)
catalogue.check(table)
try:
    print(sum(1 for _ in catalogue.read(table)))
except RecipeError as error:
    print(error)
"""


def with_hub(endpoint: str | None, cache: Path, *command: str) -> str:
    """What a program says that has the hub there, or none; the library reads its place once, on import."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
        "HF_ENDPOINT": endpoint or "http://127.0.0.1:9",
        "HF_HUB_OFFLINE": "0" if endpoint else "1",
        "HF_HOME": str(cache),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "COLUMNS": "200",
    }
    done = subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_download_takes_the_pinned_commit_and_only_the_splits_files(
    hub: tuple[str, type[Hub]], tmp_path: Path
) -> None:
    endpoint, mirror = hub
    assert with_hub(endpoint, tmp_path / "cache", "-c", READ) == "26\n"
    assert set(mirror.asked) == {f"data/{name}/SD.parquet" for name in os.listdir(mirror.root / "data")}
    listed = with_hub(endpoint, tmp_path / "cache", "-m", "align", "sources", "--json")
    states = {one["source"]: one["state"] for one in json.loads(listed)}
    assert states["mm-safetybench"].startswith("cached: SD; downloads from PKU-Alignment/MM-SafetyBench@")
    mirror.asked.clear()
    assert with_hub(None, tmp_path / "cache", "-c", READ) == "26\n"
    assert mirror.asked == []


def test_without_the_hub_one_line_says_what_to_do(tmp_path: Path) -> None:
    said = with_hub(None, tmp_path / "cache", "-c", READ)
    assert said.startswith("PKU-Alignment/MM-SafetyBench@7da6155 cannot be downloaded (")
    assert said.endswith("check the network, or give path = … with the published files\n")
    assert said.count("\n") == 1


def test_the_list_names_every_source_with_licence_and_switch(tmp_path: Path) -> None:
    shown = with_hub(None, tmp_path / "cache", "-m", "align", "sources")
    for about in ABOUT.values():
        assert about.table in shown
    assert "needs accept_licence" in shown
    assert "gated, downloads from ys-zong/VLGuard@b0be37a1ab7a" in " ".join(shown.split())
    assert "downloads from sqrti/SPA-VL@86c90059aa1a" in " ".join(shown.split())
