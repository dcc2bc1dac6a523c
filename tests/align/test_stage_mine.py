"""Mine: every miner is asked as an application would ask it, and marked; what fails is dropped by name."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from align.errors import StageAborted
from align.records import Dropped, Mined, read_rows
from align.stages import mine
from align.stages.ranking import worst
from align.stages.workspace import Workspace
from policies.catalog import load_catalog
from policies.formats import FORMATS
from policies.render import render
from policies.trace import read
from tests.align.answering import SCORER, Answering, made_at, marks, material
from tests.align.scripted_teacher import Scripted
from tests.align.stage_rows import NEEDLESS, REFUSAL, UNSAFE, Asked, laid

pytestmark = pytest.mark.anyio

MINERS = ("lab-reasoner", "lab-drifter", "lab-timid")
REPLIES = dict(zip(MINERS, (REFUSAL, UNSAFE, NEEDLESS), strict=True))
MARKS: dict[str, dict[str, int]] = {UNSAFE: {"safety": 1}, NEEDLESS: {"helpfulness": 1}}
PATIENT = {"unreadable_retries = 2\nmax_failed_share = 0.2\n\n[derive]": "unreadable_retries = 2\n"
           "max_failed_share = 1.0\n\n[derive]"}  # fmt: skip


def answer(body: dict[str, Any]) -> Scripted:
    """Each miner its own reply; the scorer marks what it is shown."""
    if body["model"] == SCORER:
        return marks(body, **MARKS.get(material(body)["reply"], {}))
    return Scripted(REPLIES[body["model"]])


def workspace(
    directory: Path, changes: dict[str, str], place: dict[str, str], asked: tuple[Asked, ...] = (Asked("h"),)
) -> Workspace:
    return laid(directory, asked, changes | place)


def results(run: Workspace) -> tuple[dict[str, Mined], dict[str, Dropped]]:
    """By miner, and by what was attempted."""
    folder = run.folder("mine")
    mined = {row.miner: row for row in read_rows(folder / "rows.jsonl", Mined)}
    return mined, {row.id: row for row in read_rows(folder / "dropped.jsonl", Dropped)}


async def test_every_miner_answers_and_is_marked_and_the_worst_can_be_told(tmp_path: Path) -> None:
    server = Answering(answer)
    mined, dropped = results(await made_at(server, mine, partial(workspace, tmp_path, {})))
    assert {miner: row.completion for miner, row in mined.items()} == REPLIES
    assert {miner: len(row.rounds) for miner, row in mined.items()} == dict.fromkeys(MINERS, 1)
    found = worst(list(mined.values()))
    assert found
    assert found.miner == "lab-drifter"
    assert not dropped
    assert sorted(material(body)["reply"] for body in server.asked_of(SCORER)) == sorted(REPLIES.values())


async def test_a_miner_gets_the_picture_and_the_question_and_no_policy(tmp_path: Path) -> None:
    server = Answering(answer)
    await made_at(server, mine, partial(workspace, tmp_path, {}))
    for miner in MINERS:
        (body,) = server.asked_of(miner)
        (message,) = body["messages"]
        assert [part["type"] for part in message["content"]] == ["image_url", "text"]
        assert message["content"][1]["text"] == "What about h?"


async def test_a_miners_own_format_is_rewritten_in_the_students_and_marked_as_it_was_written(
    tmp_path: Path,
) -> None:
    trace = read(UNSAFE, FORMATS["think"], load_catalog().citable)
    own = render(trace, FORMATS["llava_cot"])
    assert own.startswith("<SUMMARY>") or own.startswith("<CAPTION>")

    def in_its_own_way(body: dict[str, Any]) -> Scripted:
        return Scripted(own) if body["model"] == "lab-drifter" else answer(body)

    server = Answering(in_its_own_way)
    drifter = 'model = "lab-drifter"\n'
    changes = {drifter: f'{drifter}reasoning_format = "llava_cot"\n'}
    mined, _ = results(await made_at(server, mine, partial(workspace, tmp_path, changes)))
    assert mined["lab-drifter"].completion == UNSAFE
    assert own in [material(body)["reply"] for body in server.asked_of(SCORER)]


async def test_prose_of_a_miner_with_another_format_is_left_as_it_came(tmp_path: Path) -> None:
    drifter = 'model = "lab-drifter"\n'
    changes = {drifter: f'{drifter}reasoning_format = "llava_cot"\n'}

    def in_prose(body: dict[str, Any]) -> Scripted:
        return Scripted("Here you are.") if body["model"] == "lab-drifter" else answer(body)

    mined, _ = results(await made_at(Answering(in_prose), mine, partial(workspace, tmp_path, changes)))
    assert "Here you are." in mined["lab-drifter"].completion


@pytest.mark.parametrize(
    ("fails", "reason"),
    [
        (Scripted(status=400), "rejected"),
        (Scripted(status=503), "unavailable"),
        (Scripted(text=" "), "empty_reply"),
        (Scripted(refusal="No."), "content_filter"),
        (Scripted(UNSAFE, finish="length"), "cut_off"),
    ],
)
async def test_a_miner_that_fails_costs_its_own_reply_only(
    tmp_path: Path, fails: Scripted, reason: str
) -> None:
    def timid_fails(body: dict[str, Any]) -> Scripted:
        return fails if body["model"] == "lab-timid" else answer(body)

    server = Answering(timid_fails)
    mined, dropped = results(await made_at(server, mine, partial(workspace, tmp_path, PATIENT)))
    assert set(mined) == {"lab-reasoner", "lab-drifter"}
    assert {id_: row.reason for id_, row in dropped.items()} == {"h miner:lab-timid": reason}
    assert len(server.asked_of(SCORER)) == 2


async def test_a_reply_that_cannot_be_marked_is_dropped_and_never_taken_for_good_or_bad(
    tmp_path: Path,
) -> None:
    def speechless(body: dict[str, Any]) -> Scripted:
        if body["model"] == SCORER and material(body)["reply"] == UNSAFE:
            return Scripted("Full marks from me.")
        return answer(body)

    server = Answering(speechless)
    mined, dropped = results(await made_at(server, mine, partial(workspace, tmp_path, PATIENT)))
    assert set(mined) == {"lab-reasoner", "lab-timid"}
    assert dropped["h miner:lab-drifter"].reason == "unreadable"
    tries = [body["seed"] for body in server.asked_of(SCORER) if material(body)["reply"] == UNSAFE]
    assert len(set(tries)) == len(tries) == 3


async def test_too_many_failures_stop_the_stage(tmp_path: Path) -> None:
    def timid_fails(body: dict[str, Any]) -> Scripted:
        return Scripted(text=" ") if body["model"] == "lab-timid" else answer(body)

    message = r"mine: 1 of 3 rows dropped \(1 empty_reply\), more than mine.max_failed_share = 0.2"
    with pytest.raises(StageAborted, match=message):
        await made_at(Answering(timid_fails), mine, partial(workspace, tmp_path, {}))
    assert not (tmp_path / "run" / "mine" / "rows.jsonl").exists()


async def test_as_many_queries_are_mined_as_the_recipe_wants_half_of_them_harmless(tmp_path: Path) -> None:
    asked = tuple(Asked(f"{n}", benign=n % 4 == 0, category=f"P0{1 + n % 2}") for n in range(40))
    changes = {"[mine]\ncount = 16": "[mine]\ncount = 12"}
    run = await made_at(Answering(answer), mine, partial(workspace, tmp_path, changes, asked=asked))
    benign = {row.id: row.benign for row in asked}
    mined = {row.query_id for row in read_rows(run.folder("mine") / "rows.jsonl", Mined)}
    assert len(mined) == 12
    assert sum(benign[query] for query in mined) == 6
