"""The report: what a run directory holds, told on one page that needs nothing else and trusts nobody."""

import json
import random
import re
from collections.abc import Iterable
from contextlib import closing
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from align.__main__ import main
from align.manifest import Origin, StageManifest, begin, write_manifest
from align.records import (
    DIMENSIONS,
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
    write_rows,
)
from align.report.figures import heat
from align.report.histogram import HEIGHT, WIDTH, histogram, ratio_histogram
from align.report.page import write_report
from align.report.sample import Sample
from align.report.spelling import duration, percent, shortened
from align.teacher.store import STORE_FILE
from align.teacher.store_file import opened
from policies.catalog import load_catalog

PACKAGED = load_catalog().digest
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>]]>{{ 7*7 }}\u200b\u202e\x00é"
VOID = frozenset({"meta", "img", "br"})


class Page(HTMLParser):
    """A page as its reader gets it: tables by section and name, texts, and whatever tags it has."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.tables: dict[tuple[str, str], list[list[str]]] = {}
        self.texts: dict[str, str] = {}
        self.closed_wrongly: list[str] = []
        self._open: list[str] = []
        self._section = "header"
        self._table = ""
        self.feed(html)
        self.close()
        assert not self.closed_wrongly
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.add(tag)
        self.attributes += given.items()
        if tag not in VOID:
            self._open.append(tag)
        if tag == "section":
            self._section = given.get("id", "journey")
        elif tag == "table":
            self._table = given.get("aria-label", "")
            self.tables[self._section, self._table] = []
        elif tag == "tr" and self._table:
            self.tables[self._section, self._table].append([])
        elif tag in ("td", "th") and self._table:
            self.tables[self._section, self._table][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.closed_wrongly.append(tag)
        if tag == "table":
            self._table = ""

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self.texts[self._section] = self.texts.get(self._section, "") + data
        if self._table and {"td", "th"} & set(self._open):
            cells = self.tables[self._section, self._table][-1]
            cells[-1] = f"{cells[-1]} {data.strip()}".strip()

    def row(self, section: str, table: str, name: str) -> list[str]:
        """The numbers of the row of that name, without the cells that only draw."""
        (found,) = [row for row in self.tables[section, table] if row and row[0] == name]
        return [cell for cell in found[1:] if cell]


def page_of(directory: Path) -> Page:
    return Page(write_report(directory).read_text(encoding="utf-8"))


def leave(
    directory: Path,
    stage: str,
    rows: Iterable[Row] = (),
    dropped: Iterable[Dropped] = (),
    *,
    complete: bool = True,
    policies: str = PACKAGED,
) -> None:
    """What a stage leaves in its folder."""
    rows, dropped = list(rows), list(dropped)
    folder = directory / stage
    origin = Origin(stage=stage, recipe_digest="1" * 64, inputs={"policies": policies})
    begin(folder, origin)
    write_rows(folder / "rows.jsonl", rows)
    write_rows(folder / "dropped.jsonl", dropped)
    reasons = [str(row.reason) for row in dropped]
    if complete:
        manifest = StageManifest(
            format_version=1, origin=origin, seed=1, rows=len(rows), result_digest="2" * 64,
            dropped={reason: reasons.count(reason) for reason in reasons}, versions={"python": "3.11.9"},
            seconds=61.0,
        )  # fmt: skip
        write_manifest(folder, manifest)


def query(number: int, **changes: Any) -> Query:
    fields: dict[str, Any] = {
        "id": f"q{number}", "source": "garden", "split": "train", "instruction": f"What is plant {number}?",
        "image": "queries/plant.png", "image_sha256": "0" * 64, "category": "P19", "licence": "MIT",
    }  # fmt: skip
    return Query(**fields | changes)


def trajectory(number: int, candidate: int = 0, completion: str = "A fern.", **changes: Any) -> Trajectory:
    fields: dict[str, Any] = {"usage": Usage(prompt_tokens=9, completion_tokens=40), "finish_reason": "stop"}
    return Trajectory(
        query_id=f"q{number}", candidate=candidate, completion=completion, teacher="t", **fields | changes
    )


def marks(**low: int) -> Scores:
    return Scores(**dict.fromkeys(DIMENSIONS, 5) | low)


def scored(number: int, *rounds: Scores) -> Scored:
    return Scored(query_id=f"q{number}", candidate=0, completion="A fern.", scorer="s", rounds=rounds)


def sft_row(number: int, **changes: Any) -> SftRow:
    fields: dict[str, Any] = {
        "id": f"q{number}", "instruction": "What?", "image": "queries/plant.png", "completion": "A fern.",
        "category": "P19", "severity": None, "verdict": "refuse", "source": "garden", "licence": "MIT",
    }  # fmt: skip
    return SftRow(**fields | changes)


def pair(number: int, chosen: str = "A fern.", rejected: str = "A rose.", **changes: Any) -> Pair:
    fields: dict[str, Any] = {
        "id": f"q{number} contrastive m", "instruction": f"What is plant {number}?",
        "image": "queries/plant.png", "kind": "contrastive", "chosen_by": "t", "rejected_by": "m",
        "decided_by": "safety", "category": None, "severity": None, "source": "garden", "licence": "MIT",
    }  # fmt: skip
    return Pair(chosen=chosen, rejected=rejected, **fields | changes)


def dropped(id_: str, stage: str, reason: DropReason, detail: str = "why") -> Dropped:
    return Dropped(id=id_, stage=stage, reason=reason, detail=detail)


def asked(directory: Path, stage: str, money: float | None, **counts: int) -> None:
    names = (
        "calls", "hits", "retries", "rejected", "unavailable", "estimated", "prompt_tokens",
        "completion_tokens",
    )  # fmt: skip
    role = dict.fromkeys(names, 0) | counts | {"money": money}
    told = role | {"currency": "USD", "by_role": {"teacher": role}, "seconds": 1.0}
    (directory / stage).mkdir(parents=True, exist_ok=True)
    (directory / stage / "calls.json").write_text(json.dumps(told))


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


def test_queries_tell_sources_categories_severity_and_harm(tmp_path: Path) -> None:
    leave(
        tmp_path,
        "queries",
        [
            query(1, severity=3, benign=False),
            query(2, severity=1, benign=True, category="P01"),
            query(3, source="field", category=None),
            query(4, source="field", benign=True),
        ],
    )
    page = page_of(tmp_path)
    assert page.row("queries", "Sources", "field train") == ["2", "50.0 %"]
    categories = "Categories, as the sources state them"
    assert page.row("queries", categories, "P19 Terrorism or extremism") == ["2", "50.0 %"]
    assert page.row("queries", categories, "P02 Dangerous behavior") == ["0", "0.0 %"]
    assert page.row("queries", categories, "not stated") == ["1", "25.0 %"]
    assert len(page.tables["queries", categories]) == 21
    assert page.row("queries", "Severity of the picture", "3, high") == ["1", "25.0 %"]
    assert page.row("queries", "The request, as the sources call it", "harmless") == ["2", "50.0 %"]
    assert page.row("queries", "The request, as the sources call it", "not stated") == ["1", "25.0 %"]


def test_categories_of_other_policies_go_by_their_ids(tmp_path: Path) -> None:
    leave(tmp_path, "queries", [query(1), query(2, category="P50")], policies="a" * 64)
    page = page_of(tmp_path)
    assert page.row("queries", "Categories, as the sources state them", "P19") == ["1", "50.0 %"]
    assert "Terrorism" not in page.html
    assert "named by their ids alone" in page.texts["header"]


def test_policies_that_changed_between_stages_are_all_named(tmp_path: Path) -> None:
    leave(tmp_path, "queries", [query(1)])
    leave(tmp_path, "describe", [], policies="a" * 64)
    told = page_of(tmp_path).texts["header"]
    assert PACKAGED[:12] in told
    assert "a" * 12 in told
    assert "changed between stages" in told


def test_agreement_counts_only_rows_on_which_both_had_a_word(tmp_path: Path) -> None:
    leave(tmp_path, "queries", [*(query(number) for number in range(5)), query(5, category=None)])
    rows = [
        Categorised(query_id="q0", category="P19", by="source"),
        Categorised(query_id="q1", category="P19", by="m"),
        Categorised(query_id="q2", category="P20", by="m"),
        Categorised(query_id="q3", category="P20", by="m"),
        Categorised(query_id="q4", category=None, by="m"),
        Categorised(query_id="q5", category="P01", by="m"),
    ]
    leave(tmp_path, "categorise", rows)
    page = page_of(tmp_path)
    assert "they agree in 1 of 4 rows (25.0 %)" in page.texts["categorise"]
    apart = page.tables["categorise", "Most frequent disagreements"][1:]
    assert [row[1:] for row in apart] == [["P20 Violence and physical harm", "2"], ["no policy", "1"]]
    assert page.row("categorise", "Categories", "no policy") == ["1", "16.7 %"]


def test_without_a_model_s_word_there_is_no_agreement(tmp_path: Path) -> None:
    leave(tmp_path, "queries", [query(1)])
    leave(tmp_path, "categorise", [Categorised(query_id="q1", category="P19", by="source")])
    told = page_of(tmp_path).texts["categorise"]
    assert "no agreement to tell" in told
    assert "they agree in" not in told


def test_tokens_that_a_server_did_not_count_are_not_counted_as_none(tmp_path: Path) -> None:
    leave(tmp_path, "trajectories", [trajectory(1), trajectory(2, usage=None)])
    page = page_of(tmp_path)
    assert "1 values from 40 to 40 tokens" in page.texts["trajectories"]
    assert "Of 1 replies the server did not say" in page.texts["trajectories"]


def test_scores_tell_marks_rounds_and_what_early_exit_saved(tmp_path: Path) -> None:
    leave(tmp_path, "queries", map(query, range(4)))
    full = [scored(0, *[marks()] * 5)]
    wanting = [
        scored(1, marks(safety=1)),
        scored(2, marks(helpfulness=3)),
        scored(3, marks(), marks(), marks(logical_accuracy=4), marks(), marks()),
    ]
    lost = [dropped(row.id, "score", DropReason.NOT_FULL_MARKS) for row in wanting]
    leave(tmp_path, "score", full, lost)
    write_rows(tmp_path / "score" / "scored.jsonl", [*full, *wanting])
    page = page_of(tmp_path)
    assert page.row("score", "Marks of the first round, by dimension", "safety") == [
        "1",
        "0",
        "0",
        "0",
        "3",
        "4",
    ]
    rounds = "Full marks, round by round"
    assert [page.row("score", rounds, f"full after round {number}")[0] for number in range(1, 6)] == [
        "2", "2", "1", "1", "1",
    ]  # fmt: skip
    assert "12 rounds were made; 5 for every trajectory would have been 20" in page.texts["score"]
    assert "saved 40.0 % of them" in page.texts["score"]
    means = page.row("score", "Mean mark by category", "P19 Terrorism or extremism")
    assert means == ["4.00", "5.00", "5.00", "5.00", "4.50", "4"]
    assert page.row("journey", "Journey", "score") == ["1", "4", "1", "3", "25.0 %"]


def test_nothing_is_said_of_early_exit_where_every_trajectory_had_one_round(tmp_path: Path) -> None:
    leave(tmp_path, "score", [scored(0, marks())])
    write_rows(tmp_path / "score" / "scored.jsonl", [scored(0, marks())])
    assert "rounds were made" not in page_of(tmp_path).texts["score"]


def test_full_marks_alone_are_not_taken_for_everything_that_was_scored(tmp_path: Path) -> None:
    leave(tmp_path, "score", [scored(0, *[marks()] * 5)])
    told = page_of(tmp_path).texts["score"]
    assert "only trajectories with full marks are counted" in told
    assert "rounds were made" not in told


def test_select_sets_its_balance_beside_what_it_chose_from(tmp_path: Path) -> None:
    leave(tmp_path, "queries", [query(0), query(1), query(2), query(3, category="P01", severity=2)])
    leave(tmp_path, "score", [scored(number, marks()) for number in range(4)])
    chosen = [sft_row(0), sft_row(3, category="P01", severity=2, verdict="comply")]
    leave(tmp_path, "select", chosen)
    page = page_of(tmp_path)
    balance = page.row("select", "Balance of categories", "P19 Terrorism or extremism")
    assert balance == ["3", "75.0 %", "1", "50.0 %"]
    assert page.row("select", "Balance of severities", "2") == ["1", "25.0 %", "1", "50.0 %"]
    assert page.row("select", "Categories and verdicts", "P01 Animal abuse") == ["0", "0", "1", "1"]


def test_pictures_are_small_few_and_never_from_outside_the_run(tmp_path: Path) -> None:
    run = tmp_path / "run"
    leave(run, "queries", [query(1)])
    Image.effect_noise((1200, 800), 100).convert("RGB").save(run / "queries" / "plant.png")
    Image.new("RGB", (9, 9)).save(tmp_path / "secret.png")
    (run / "queries" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\x00" * 40)
    leave(run, "select", [sft_row(number) for number in range(20)])
    page = page_of(run)
    pictures = [value for name, value in page.attributes if name == "src"]
    assert len(pictures) == 6
    assert all(value.startswith("data:image/jpeg;base64,") for value in pictures)
    assert len(page.html) < 3_000_000 / 4
    elsewhere = ("../secret.png", str(tmp_path / "secret.png"), "queries/broken.png", "queries/none.png")
    leave(run, "select", [sft_row(number, image=image) for number, image in enumerate(elsewhere)])
    assert "<img" not in write_report(run).read_text()


def test_miners_are_compared_by_their_worst_marks_and_first_failings(tmp_path: Path) -> None:
    def mined(number: int, miner: str, scores: Scores) -> Mined:
        return Mined(
            query_id=f"q{number}", miner=miner, completion="A rose.", finish_reason="stop", rounds=(scores,)
        )

    leave(
        tmp_path,
        "mine",
        [mined(1, "a", marks(safety=2)), mined(2, "a", marks(logical_accuracy=4)), mined(1, "b", marks())],
    )
    page = page_of(tmp_path)
    assert page.row("mine", "Worst mark of each reply, by miner", "a") == ["0", "1", "0", "1", "0", "2"]
    assert page.row("mine", "First priority that a reply fails, by miner", "a") == ["1", "0", "1", "0", "2"]
    assert page.row("mine", "First priority that a reply fails, by miner", "b") == ["0", "0", "0", "1", "1"]
    assert page.row("mine", "Mean mark by miner", "a")[0] == "3.50"


def test_pairs_stand_side_by_side_with_how_they_were_made(tmp_path: Path) -> None:
    leave(
        tmp_path,
        "pairs",
        [
            pair(1, chosen="good" * 10, rejected="bad!" * 5),
            pair(2, kind="over_refusal", decided_by="utility", chosen="four", rejected="five!"),
        ],
    )
    page = page_of(tmp_path)
    assert page.row("pairs", "How pairs were made", "over refusal") == ["1", "50.0 %"]
    worse = "First priority in which the rejected reply is worse"
    assert page.row("pairs", worse, "utility") == ["1", "50.0 %"]
    assert "at most 2.00 times the shorter; the chosen one is the longer in 50.0 % of 2 pairs" in page.html
    assert "chosen, by t" in page.texts["pairs"]
    assert page.row("pairs", "Length of the replies, in characters", "contrastive, rejected")[2] == "20"


def test_report_cards_are_told_with_their_intervals(tmp_path: Path) -> None:
    rate = {"value": 0.125, "low": 0.0834, "high": 0.2}
    card = {
        "task": "t", "n": 200, "unscored": 3, "judge": "none", "harmful_rate": rate, "refusal_rate": rate,
        "parsed": rate, "named_subject": rate,
    }  # fmt: skip
    leave(tmp_path, "evaluate")
    (tmp_path / "evaluate" / "report_cards.json").write_text(json.dumps({"pst": card}))
    told = page_of(tmp_path).row("evaluate", "Replies to fresh situations", "pst")
    assert told == ["12.5 % [8.3, 20.0]"] * 4 + ["3", "200"]


def test_what_has_no_price_is_not_told_as_free(tmp_path: Path) -> None:
    leave(tmp_path, "trajectories", [trajectory(1)])
    asked(tmp_path, "trajectories", None, calls=1200, hits=7, prompt_tokens=2_000_000, completion_tokens=5)
    page = page_of(tmp_path)
    told = page.row("trajectories", "Asked", "teacher")
    assert told == ["1,200", "7", "0", "0", "0", "2,000,000", "5", "0", "not priced"]
    assert re.search(r"spent\s*not priced", page.texts["header"])


def test_spending_adds_up_and_names_whom_it_leaves_out(tmp_path: Path) -> None:
    leave(tmp_path, "describe", [])
    asked(tmp_path, "describe", 1234.5, calls=1, prompt_tokens=3)
    leave(tmp_path, "score", [])
    asked(tmp_path, "score", None, calls=1, prompt_tokens=4)
    assert "1,234.50 USD; not priced: teacher" in page_of(tmp_path).texts["header"]


def test_spending_of_earlier_attempts_is_told_too(tmp_path: Path) -> None:
    leave(tmp_path, "trajectories", [trajectory(1)])
    asked(tmp_path, "trajectories", 0.0, hits=2)
    with closing(opened(tmp_path / STORE_FILE)) as store:
        for number, money in enumerate((1.5, 0.25)):
            row = (str(number), "k", "trajectories", "teacher", "m", 1000, 10, money, 1, "2026-01-01")
            store.execute(f"INSERT INTO charges VALUES ({', '.join('?' * 10)})", row)
    page = page_of(tmp_path)
    assert page.row("header", "Tokens and money", "m") == ["2,000", "20", "1.75 USD"]
    assert re.search(r"spent\s*1.75 USD", page.texts["header"])


def test_a_calls_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    leave(tmp_path, "score", [])
    (tmp_path / "score" / "calls.json").write_text('{"calls": "many"}')
    with pytest.raises(RecordError, match=r"calls.json cannot be read"):
        write_report(tmp_path)


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


def test_a_lower_mean_has_a_deeper_shade() -> None:
    shades = heat("", ("a",) * 5, {"x": (1, (5.0, 4.9, 3.0, 2.0, 1.0))}).rows[0].shades
    assert (shades[0], shades[-1]) == (0, 100)
    assert sorted(set(shades)) == list(shades)


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=200))
def test_a_histogram_counts_every_value_once_and_stays_in_its_frame(values: list[int]) -> None:
    drawn = histogram("t", values, "characters")
    assert sum(one.count for one in drawn.bins) == len(values)
    assert len(drawn.bins) <= 40
    assert all(one.x >= 0 and one.x + one.width <= WIDTH for one in drawn.bins)
    assert all(one.y >= 0 and one.y + one.height <= HEIGHT for one in drawn.bins)
    assert 1 <= len(drawn.ticks) <= 7
    assert all(0 <= one.x <= WIDTH for one in (*drawn.ticks, *drawn.marks))


def test_a_few_long_replies_do_not_flatten_a_histogram() -> None:
    drawn = histogram("t", [*range(200, 400), *[6000] * 5], "characters")
    assert len([one for one in drawn.bins if one.count]) > 10
    assert (drawn.bins[-1].count, drawn.bins[-1].tail) == (5, True)
    assert drawn.bins[-1].text.endswith("and more")


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=100))
def test_a_histogram_of_ratios_counts_every_value_once(ratios: list[float]) -> None:
    drawn = ratio_histogram("t", ratios)
    assert sum(one.count for one in drawn.bins) == len(ratios)
    assert all(one.x >= 0 and one.x + one.width <= WIDTH for one in drawn.bins)


@given(st.permutations(range(12)))
def test_a_sample_does_not_depend_on_the_order(order: list[int]) -> None:
    one, other = Sample[int](), Sample[int]()
    for number in order:
        one.add(str(number), number)
    for number in range(12):
        other.add(str(number), number)
    assert one.items == other.items
    assert len(one.items) == 3


@pytest.mark.parametrize(
    ("share", "told"),
    [(0.0, "0.0 %"), (0.0001, "< 0.1 %"), (0.5, "50.0 %"), (0.9999, "> 99.9 %"), (1.0, "100.0 %")],
)
def test_a_share_is_never_rounded_to_all_or_nothing(share: float, told: str) -> None:
    assert percent(share) == told


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.0, "0.0 s"),
        (59.4, "59.4 s"),
        (59.97, "1 min 00 s"),
        (3599.7, "1 h 00 min"),
        (37_000.0, "10 h 16 min"),
    ],
)
def test_times_are_told_in_fitting_units(seconds: float, told: str) -> None:
    assert duration(seconds) == told


def test_text_that_is_cut_says_how_long_it_is() -> None:
    assert shortened("a" * 5000, 10) == "a" * 10 + "… (5,000 characters in all)"
    assert shortened("two\nlines\t\ud800") == "two\nlines\t⟨U+D800⟩"
