"""Claims about several workers on one port: truthful counts, replacements, a common end."""

import contextlib
import http.client
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.serve.gateways import PATIENCE_S, eventually
from tests.serve.programs import ROOT, is_alive

WRITTEN = 'groundrule_ledger_rows_total{outcome="written"}'
SHIPPED = 'groundrule_ledger_rows_total{outcome="shipped"}'
START_S = 180.0
"""For workers to come to answer, on a busy machine."""


@dataclass
class Running:
    """A crew, as its callers and its operator see it."""

    process: subprocess.Popen[str]
    url: str

    def get(self, path: str) -> str:
        """Over a connection of its own, which any worker may accept."""
        with urllib.request.urlopen(f"{self.url}{path}", timeout=PATIENCE_S) as response:
            return str(response.read().decode())

    def pids(self, workers: int) -> set[int]:
        """Of the workers, once so many that are alive have answered."""
        found: set[int] = set()

        def all_answered() -> bool:
            with contextlib.suppress(OSError):  # it was the dying one's
                found.add(int(self.get("/pid")))
            found.intersection_update({pid for pid in found if is_alive(pid)})
            return len(found) == workers

        eventually(all_answered, START_S)
        return found

    def metric(self, name: str) -> float:
        lines = [line for line in self.get("/metrics").splitlines() if line.startswith(f"{name} ")]
        assert len(lines) <= 1, "one series for all workers"
        return float(lines[0].split()[1]) if lines else 0.0


@contextmanager
def running_crew(directory: Path, workers: int = 2) -> Iterator[Running]:
    command = [sys.executable, "-m", "tests.fakes.scripted_crew", str(directory), str(workers)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True)
    assert process.stdout
    try:
        yield Running(process, process.stdout.readline().strip())
    finally:
        process.terminate()
        process.wait(START_S)
        process.stdout.close()


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A crew that outlives its workers."""
    with running_crew(tmp_path_factory.mktemp("crew")) as crew:
        yield crew


def test_counters_of_two_workers_add_up_and_survive_one_dying_whose_last_rows_are_shipped(
    crew: Running,
) -> None:
    pids = crew.pids(2)
    before = crew.metric(WRITTEN)
    answered = {int(crew.get("/reply?seconds=0")) for _ in range(20)}
    assert crew.metric(WRITTEN) == before + 20
    os.kill(answered.pop(), signal.SIGKILL)
    assert len(crew.pids(2) - pids) == 1
    crew.get("/reply?seconds=0")
    assert crew.metric(WRITTEN) == before + 21
    eventually(lambda: crew.metric(SHIPPED) == before + 21)


def test_a_dead_worker_is_replaced_and_its_requests_are_no_longer_in_flight(crew: Running) -> None:
    pids = crew.pids(2)
    for _ in range(6):
        threading.Thread(target=_ask, args=(crew.url,), daemon=True).start()
    eventually(lambda: (crew.metric("under_way"), crew.get("/held")) == (6, "6"))
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    assert not crew.pids(2) & pids
    assert (crew.metric("under_way"), crew.get("/held")) == (0, "0")


def _ask(url: str) -> None:
    """For a reply that takes longer than the worker lives."""
    with pytest.raises((OSError, http.client.HTTPException)):
        urllib.request.urlopen(f"{url}/reply?seconds=600", timeout=600)


def test_all_workers_finish_what_they_have_begun_when_the_keeper_is_told_to_stop(tmp_path: Path) -> None:
    with running_crew(tmp_path) as crew:
        pids = crew.pids(2)
        answers: list[str] = []
        asking = [
            threading.Thread(target=lambda: answers.append(crew.get("/reply?seconds=3"))) for _ in range(4)
        ]
        for thread in asking:
            thread.start()
        eventually(lambda: crew.metric("under_way") == 4)
        crew.process.send_signal(signal.SIGTERM)
        assert crew.process.wait(START_S) == 0
        for thread in asking:
            thread.join(PATIENCE_S)
        assert len(answers) == 4
        assert not any(map(is_alive, pids))
        with pytest.raises(ConnectionError):
            socket.create_connection(("127.0.0.1", int(crew.url.rsplit(":")[-1])), PATIENCE_S)
    with contextlib.closing(sqlite3.connect(tmp_path / "groundrule.db")) as database:
        assert database.execute("SELECT count(*) FROM interactions").fetchone() == (4,)
    assert list((tmp_path / "spool").iterdir()) == []


def test_workers_end_even_when_the_keeper_is_killed(tmp_path: Path) -> None:
    with running_crew(tmp_path, workers=1) as crew:
        pids = crew.pids(1)
        crew.process.kill()
        eventually(lambda: not any(map(is_alive, pids)), START_S)


def test_workers_that_never_come_to_answer_end_the_gateway(tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    with running_crew(tmp_path) as crew:
        assert crew.process.wait(START_S) == 1
