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
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
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


Run = Callable[..., AbstractContextManager[Running]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    @contextmanager
    def run(workers: int = 2) -> Iterator[Running]:
        command = [sys.executable, "-m", "tests.fakes.scripted_crew", str(tmp_path), str(workers)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True)
        assert process.stdout
        try:
            yield Running(process, process.stdout.readline().strip())
        finally:
            process.terminate()
            process.wait(START_S)
            process.stdout.close()

    return run


def test_counters_of_two_workers_add_up_and_survive_one_dying(run: Run) -> None:
    with run() as crew:
        pids = crew.pids(2)
        answered = {int(crew.get("/reply?seconds=0")) for _ in range(20)}
        assert crew.metric(WRITTEN) == 20
        victim = answered.pop()
        os.kill(victim, signal.SIGKILL)
        assert len(crew.pids(2) - pids) == 1
        crew.get("/reply?seconds=0")
        assert crew.metric(WRITTEN) == 21


def test_a_dead_worker_is_replaced_and_its_requests_are_no_longer_in_flight(run: Run) -> None:
    with run() as crew:
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


def test_rows_of_every_worker_are_shipped_by_the_keeper_the_last_ones_of_a_killed_one_too(
    run: Run, tmp_path: Path
) -> None:
    with run() as crew:
        crew.pids(2)
        answered = {int(crew.get("/reply?seconds=0")) for _ in range(5)}
        os.kill(answered.pop(), signal.SIGKILL)
        crew.pids(2)
        eventually(lambda: crew.metric(SHIPPED) == 5)
        crew.process.send_signal(signal.SIGTERM)
        assert crew.process.wait(START_S) == 0
    with contextlib.closing(sqlite3.connect(tmp_path / "groundrule.db")) as database:
        assert database.execute("SELECT count(*) FROM interactions").fetchone() == (5,)
    assert list((tmp_path / "spool").iterdir()) == []


def test_all_workers_finish_what_they_have_begun_when_the_keeper_is_told_to_stop(run: Run) -> None:
    with run() as crew:
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


def test_workers_end_even_when_the_keeper_is_killed(run: Run) -> None:
    with run() as crew:
        pids = crew.pids(2)
        crew.process.kill()
        eventually(lambda: not any(map(is_alive, pids)), START_S)


def test_workers_that_never_come_to_answer_end_the_gateway(run: Run, tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    with run() as crew:
        assert crew.process.wait(START_S) == 1
