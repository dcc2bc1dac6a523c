"""What the report's sections tell of queries, scores, choices, pairs and spending."""

import json
import re
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image

from align.records import (
    Categorised,
    DropReason,
    Mined,
    RecordError,
    Scores,
    write_rows,
)
from align.report.page import write_report
from align.teacher.store import STORE_FILE
from align.teacher.store_file import opened
from tests.align.report_rows import (
    PACKAGED,
    asked,
    dropped,
    leave,
    marks,
    page_of,
    pair,
    query,
    scored,
    sft_row,
    trajectory,
)


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
    (tmp_path / "evaluate" / "report_cards.json").write_text(
        json.dumps({"pst": card | {"harmful_rate": None}})
    )
    told = page_of(tmp_path).row("evaluate", "Replies to fresh situations", "pst")
    assert told == ["not told"] + ["12.5 % [8.3, 20.0]"] * 3 + ["3", "200"]


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
