"""Claims about stopping, on a small program around the parts that stop: the server, the drain, the ledger."""

import json
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.serve.gateways import PATIENCE_S, eventually
from tests.serve.programs import ROOT

PROGRAM = "tests.fakes.scripted_gateway"


@dataclass
class Stopping:
    """A program that can be stopped."""

    process: subprocess.Popen[str]
    url: str
    directory: Path

    def sigterm(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", timeout=PATIENCE_S)

    def refuses(self) -> bool:
        """Whether it takes no connection any more."""
        try:
            self.get("/readyz")
        except httpx.ConnectError:
            return True
        except httpx.TransportError:  # taken off while it was being closed
            return False
        return False

    def rows(self) -> list[str]:
        """Ids of the audit rows in its database."""
        with sqlite3.connect(self.directory / "state" / "groundrule.db") as database:
            rows = database.execute("SELECT id FROM interactions ORDER BY id").fetchall()
        database.close()
        return [row[0] for row in rows]


@dataclass
class Reader(threading.Thread):
    """Somebody who reads a reply of so many seconds to its end."""

    url: str
    seconds: float
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        with httpx.stream("GET", f"{self.url}/reply?seconds={self.seconds}", timeout=PATIENCE_S) as response:
            for line in response.iter_lines():
                self.lines.append(line)


Run = Callable[..., AbstractContextManager[Stopping]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the program with these seconds of grace and of drain."""

    @contextmanager
    def run(grace_s: float = 0, timeout_s: float = 30) -> Iterator[Stopping]:
        command = [sys.executable, "-m", PROGRAM, str(tmp_path / "state"), str(grace_s), str(timeout_s)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True)
        assert process.stdout
        try:
            yield Stopping(process, process.stdout.readline().strip(), tmp_path)
        finally:
            process.kill()
            process.wait(PATIENCE_S)
            process.stdout.close()

    return run


def test_replies_under_way_finish_after_sigterm_and_new_ones_are_told_to_go_elsewhere(run: Run) -> None:
    with run(grace_s=2) as program:
        assert program.get("/readyz").status_code == 200
        reader = Reader(program.url, seconds=6)
        reader.start()
        eventually(lambda: reader.lines)
        program.sigterm()
        eventually(lambda: program.get("/readyz").status_code == 503)
        assert program.get("/reply?seconds=0").status_code == 200  # the grace: others do not know it yet
        eventually(program.refuses)
        assert reader.is_alive()
        assert program.process.wait(PATIENCE_S) == 0
        reader.join(PATIENCE_S)
        assert reader.lines[-1] == "done"


def test_what_outlives_the_drain_ends_with_a_last_event(run: Run) -> None:
    with run(timeout_s=1) as program:
        reader = Reader(program.url, seconds=60)
        reader.start()
        eventually(lambda: reader.lines)
        began = time.monotonic()
        program.sigterm()
        assert program.process.wait(PATIENCE_S) == 0
        reader.join(PATIENCE_S)
        assert reader.lines[-1] == "stopping"
        assert time.monotonic() - began < 30


def test_audit_rows_of_the_last_second_are_there_after_sigterm(run: Run) -> None:
    with run(timeout_s=1) as program:
        for _ in range(3):
            program.get("/reply?seconds=0")
        reader = Reader(program.url, seconds=60)
        reader.start()
        eventually(lambda: reader.lines)
        program.sigterm()
        assert program.process.wait(PATIENCE_S) == 0
        assert program.rows() == ["i_0", "i_1", "i_2", "i_3"]


def test_a_second_interrupt_ends_it_at_once_and_loses_no_row(run: Run) -> None:
    with run(grace_s=50) as program:
        program.get("/reply?seconds=0")
        program.process.send_signal(signal.SIGINT)
        eventually(lambda: program.get("/readyz").status_code == 503)
        program.process.send_signal(signal.SIGINT)
        program.process.wait(PATIENCE_S)
        kept = [*(program.directory / "state" / "spool").glob("*.jsonl")]
        spooled = [json.loads(line)["id"] for path in kept for line in path.read_text().splitlines()]
        database = program.directory / "state" / "groundrule.db"
        assert "i_0" in spooled or (database.exists() and program.rows() == ["i_0"])
