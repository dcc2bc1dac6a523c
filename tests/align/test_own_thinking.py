"""A teacher that thinks for itself before it writes what it is asked for: only the latter is kept."""

from pathlib import Path
from typing import Any

import pytest

from align.records import DropReason
from align.stages.asking import Drop, reply_of
from align.teacher.desk import open_desk
from align.teacher.reply import Reply
from tests.align.asking import STAGE, question, recipe_at, workspace
from tests.align.scripted_teacher import GOOD, Scripted, ScriptedTeacher

pytestmark = pytest.mark.anyio
THINKS = "A bomb. I should refuse."


async def asked(said: list[Scripted], where: Path, *own_thinking: str) -> tuple[list[Reply], ScriptedTeacher]:
    """The same question, once for each way in which the server is said to treat thoughts."""
    server, replies = ScriptedTeacher(said), []
    async with server.serving() as url:
        for way in own_thinking:
            teacher: dict[str, Any] = {"own_thinking": way}
            recipe = recipe_at(url, teacher=teacher)
            async with open_desk(workspace(recipe, where), stage=STAGE) as desk:
                replies.append(await reply_of(desk.role("teacher"), question(1), seed=1))
    return replies, server


@pytest.mark.parametrize(
    "opening", ["", "<think>\n"], ids=["the template has begun it", "the model begins it"]
)
async def test_thoughts_in_the_content_end_where_the_taught_reply_begins(
    tmp_path: Path, opening: str
) -> None:
    said = Scripted(f"{opening}{THINKS}\n</think>\n\n{GOOD}")
    [reply], _ = await asked([said], tmp_path, "inline")
    assert reply.text == GOOD
    assert reply.usage is None, "the server's count holds the thoughts"


async def test_thoughts_without_an_end_are_no_reply(tmp_path: Path) -> None:
    with pytest.raises(Drop) as dropped:
        await asked([Scripted(THINKS, finish="length")], tmp_path, "inline")
    assert dropped.value.reason is DropReason.CUT_OFF


async def test_a_break_that_a_server_leaves_behind_thoughts_is_not_taught(tmp_path: Path) -> None:
    [reply], _ = await asked([Scripted(f"\n\n{GOOD}")], tmp_path, "separate")
    assert reply.text == GOOD
    assert reply.usage is not None


async def test_who_finds_the_server_set_up_wrongly_asks_anew(tmp_path: Path) -> None:
    said = [Scripted("I can't help with that."), Scripted(f"{THINKS}</think>{GOOD}")]
    replies, server = await asked(said, tmp_path, "separate", "inline", "inline")
    assert [reply.text for reply in replies] == ["I can't help with that.", GOOD, GOOD]
    assert len(server.history) == 2
