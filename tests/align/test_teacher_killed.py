"""A process that asks is killed, interrupted, or runs out of disk: nothing it was answered is asked again."""

import asyncio
import resource
import signal
import sqlite3
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.align.scripted_teacher import Scripted, ScriptedTeacher

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
COUNT = 150
CONCURRENCY = 8
"""Of `tests.align.asking`."""
SLOW = Scripted(echoes=True, hangs_s=0.05)


async def started(
    url: str, directory: Path, count: int = COUNT, *, limited: Callable[[], None] | None = None
) -> Process:
    # -B, as in test_disk_full.
    command = (sys.executable, "-B", "-m", "tests.align.asking", url, str(directory), str(count))
    return await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stdout=PIPE, stderr=PIPE, preexec_fn=limited
    )


async def finished(process: Process) -> tuple[dict[str, str], str]:
    """The replies it printed, by question, and what it said."""
    out, said = await asyncio.wait_for(process.communicate(), 60)
    replies = dict(line.split() for line in out.decode().splitlines(keepends=True) if line.endswith("\n"))
    return replies, said.decode()


async def until_asked(server: ScriptedTeacher, count: int, process: Process) -> None:
    async with asyncio.timeout(60):
        while len(server.history) < count:
            assert process.returncode is None
            await asyncio.sleep(0.002)


@pytest.mark.parametrize("after", [3, 70])
async def test_after_a_kill_no_kept_reply_is_asked_for_again_and_replies_are_the_same(
    after: int, tmp_path: Path
) -> None:
    server = ScriptedTeacher([SLOW])
    async with server.serving() as url:
        killed = await started(url, tmp_path)
        await until_asked(server, after, killed)
        killed.send_signal(signal.SIGKILL)
        before, _ = await finished(killed)
        assert killed.returncode == -signal.SIGKILL
        seen = server.asked.copy()
        replies, said = await finished(await started(url, tmp_path))
    assert len(replies) == COUNT, said
    assert before.items() <= replies.items()
    assert all(server.asked[digest] == 1 for digest in before.values())
    assert len(server.asked) == COUNT
    twice = [digest for digest, times in server.asked.items() if times > 1]
    assert all(server.asked[digest] == 2 and digest in seen for digest in twice)
    assert len(twice) <= CONCURRENCY
    with closing(sqlite3.connect(tmp_path / "calls.sqlite")) as file:
        certain = file.execute("SELECT count(*) FROM charges WHERE certain").fetchone()[0]
        uncertain = file.execute("SELECT count(*) FROM charges WHERE NOT certain").fetchone()[0]
    assert certain == COUNT
    assert uncertain <= CONCURRENCY


async def test_what_a_kill_leaves_under_way_counts_as_spent(tmp_path: Path) -> None:
    server = ScriptedTeacher([Scripted(hangs_s=30)])
    async with server.serving() as url:
        killed = await started(url, tmp_path)
        await until_asked(server, CONCURRENCY, killed)
        await asyncio.sleep(0.5)
        killed.send_signal(signal.SIGKILL)
        await finished(killed)
    with closing(sqlite3.connect(tmp_path / "calls.sqlite")) as file:
        worst = file.execute("SELECT completion_tokens, certain FROM charges").fetchall()
    assert worst == [(1024, 0)] * CONCURRENCY


async def test_an_interrupted_process_keeps_what_is_under_way(tmp_path: Path) -> None:
    server = ScriptedTeacher([Scripted(echoes=True, hangs_s=0.3)])
    async with server.serving() as url:
        interrupted = await started(url, tmp_path, 40)
        await until_asked(server, 2 * CONCURRENCY, interrupted)
        interrupted.send_signal(signal.SIGINT)
        _, said = await finished(interrupted)
        assert "waiting for 8 calls that are under way and paid for; interrupt to leave them" in said
        assert len(server.asked) == 2 * CONCURRENCY
        replies, _ = await finished(await started(url, tmp_path, 40))
    assert len(replies) == 40
    assert set(server.asked.values()) == {1}


async def test_who_interrupts_twice_does_not_wait(tmp_path: Path) -> None:
    server = ScriptedTeacher([Scripted(hangs_s=30)])
    async with server.serving() as url:
        interrupted = await started(url, tmp_path)
        await until_asked(server, CONCURRENCY, interrupted)
        for _ in range(2):
            await asyncio.sleep(0.3)
            interrupted.send_signal(signal.SIGINT)
        await asyncio.wait_for(finished(interrupted), 10)
    with closing(sqlite3.connect(tmp_path / "calls.sqlite")) as file:
        assert file.execute("SELECT count(*) FROM charges WHERE NOT certain").fetchone()[0] == CONCURRENCY


def little_disk() -> None:
    """No file of the process may grow beyond this."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))


async def test_on_a_full_disk_the_run_ends_with_one_line_and_goes_on_when_there_is_room(
    tmp_path: Path,
) -> None:
    server = ScriptedTeacher([SLOW])
    async with server.serving() as url:
        full = await started(url, tmp_path, limited=little_disk)
        before, said = await finished(full)
        assert full.returncode == 1
        assert said.count("\n") <= 2
        assert f"{tmp_path / 'calls.sqlite'}: the disk" in said
        assert "free space or make it writable, and run again: what was kept before is safe" in said
        assert 0 < len(before) < COUNT
        asked = len(server.history)
        assert asked <= len(before) + 2 * CONCURRENCY
        replies, _ = await finished(await started(url, tmp_path))
    assert len(replies) == COUNT
    assert before.items() <= replies.items()
    assert all(server.asked[digest] == 1 for digest in before.values())
