"""Claims about connections, on the gateway as a process: crowds, callers who stall, small events, the end."""

import contextlib
import json
import re
import resource
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.fakes.scripted_engine import Scripted, ScriptedEngine
from tests.serve.gateways import PATIENCE_S, ask, eventually
from tests.serve.programs import Program, running_program

CROWD = 10_000
SMALLEST_CROWD = 4_000
MOST_GROWTH = 250_000_000
"""Bytes of memory, for a crowd of ten thousand."""
OPEN_FILES = 256
LISTENING = "0A"
PLACES = OPEN_FILES - 64 - 2 * 16
"""What is left of them for connections, with 16 requests in flight."""
# As an operator would after `ulimit -n`.
WITH_FEW_FILES = """
import resource
import sys
from serve.__main__ import main
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[2]), int(sys.argv[2])))
raise SystemExit(main(["--config", sys.argv[1]]))
"""


class Caller:
    """A caller by hand."""

    def __init__(self, url: str, most_unread: int | None = None) -> None:
        """`most_unread`: bytes that the system takes for somebody who does not read."""
        address = urlsplit(url)
        self.socket = socket.socket()
        self.socket.settimeout(PATIENCE_S)
        if most_unread:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, most_unread)
        self.socket.connect((address.hostname, address.port))
        self._unread = b""

    def ask(self, path: str = "/healthz", body: Any = None) -> None:
        method = "GET" if body is None else "POST"
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(content)}\r\n\r\n"
        self.socket.sendall(head.encode() + content)

    def read(self) -> bytes:
        """What one read gives; nothing where the other side is done."""
        with contextlib.suppress(ConnectionResetError):
            return self.socket.recv(65536)
        return b""

    def reply(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of a reply that says how long it is."""
        while b"\r\n\r\n" not in self._unread:
            self._take()
        head, self._unread = self._unread.split(b"\r\n\r\n", 1)
        status, *lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        length = int(headers["content-length"])
        while len(self._unread) < length:
            self._take()
        body, self._unread = self._unread[:length], self._unread[length:]
        return int(status.split()[1]), headers, body

    def answers(self) -> int:
        """The status of one more request."""
        self.ask()
        return self.reply()[0]

    def is_let_go(self) -> bool:
        """Whether the other side has closed; what it said before that is read."""
        while select.select([self.socket], [], [], 0)[0]:
            if not self.read():
                return True
        return False

    def close(self) -> None:
        self.socket.close()

    def _take(self) -> None:
        piece = self.read()
        assert piece, "closed before the reply was over"
        self._unread += piece


@contextmanager
def crowd(url: str, size: int, *, asking: Callable[[int], bool]) -> Iterator[list[Caller]]:
    """So many connections; those `asking` have made a request and read its reply."""
    callers: list[Caller] = []
    try:
        for start in range(0, size, 250):
            group = range(start, min(start + 250, size))
            callers += [Caller(url) for _ in group]
            asked = [callers[index] for index in group if asking(index)]
            for caller in asked:
                caller.ask()
            assert {caller.reply()[0] for caller in asked} <= {200}
        yield callers
    finally:
        for caller in callers:
            caller.close()


Run = Callable[..., AbstractContextManager[Program]]


@pytest.fixture
def run(engine: ScriptedEngine, bundle: Path, tmp_path: Path) -> Run:
    """Run the gateway with these limits, and perhaps few open files."""

    @contextmanager
    def run(open_files: int | None = None, top: Sequence[str] = (), **limits: float) -> Iterator[Program]:
        lines = ["port = 0", f"state_dir = {json.dumps(str(tmp_path / 'state'))}", *top]
        lines += ["[engine.remote]", f"url = {json.dumps(engine.url)}", "poll_interval_s = 0.05"]
        lines += ["[[adapters]]", f"bundle = {json.dumps(str(bundle))}"]
        lines += ["[gate]", 'require_trace = "never"', "[ledger]", "enabled = false"]
        lines += ["[limits]", *(f"{name} = {value}" for name, value in limits.items())]
        config = tmp_path / "gateway.toml"
        config.write_text("\n".join(lines))
        command = ["-m", "serve", "--config", str(config)]
        if open_files:
            command = ["-c", WITH_FEW_FILES, str(config), str(open_files)]
        with running_program(command, tmp_path / "gateway.log") as program:
            program.wait_ready()
            yield program

    return run


@pytest.fixture
def many_files() -> Iterator[int]:
    """How many files this process may open, for as long as the test lasts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def memory_of(program: Program) -> int:
    """Bytes that the process holds now."""
    status = Path(f"/proc/{program.process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found
    return 1024 * int(found[1])


def connections(program: Program) -> int:
    """How many of its callers' the process holds; those that only the kernel still has are of no process."""
    port = f":{urlsplit(program.url).port:04X}"
    rows = map(str.split, Path("/proc/net/tcp").read_text().splitlines()[1:])
    return sum(row[1].endswith(port) and row[3] != LISTENING and row[9] != "0" for row in rows)


def chat(program: Program, **fields: Any) -> httpx.Response:
    return program.gateway.post(ask(**fields))


def steps(count: int, length: int = 20) -> list[str]:
    """A reply of so many steps, each an event of the engine's."""
    told = [f"[textual] {number:05} {'x' * length}\n" for number in range(count)]
    return ["<think>\n", *told, "Verdict: comply\n</think>\n", "Done."]


def test_ten_thousand_idle_connections_leave_room_for_a_caller(
    run: Run, many_files: int, record_property: Callable[[str, object], None]
) -> None:
    size = CROWD if many_files < 0 else min(CROWD, many_files - 1_000)
    assert size >= SMALLEST_CROWD, "raise the limit of open files (ulimit -n)"
    with run(head_s=600, keep_alive_s=600) as program:
        assert chat(program).status_code == 200  # whatever a first request leaves behind for good
        before = memory_of(program)
        with crowd(program.url, size, asking=lambda index: index % 2 == 0) as callers:
            eventually(lambda: connections(program) >= size)
            assert chat(program).status_code == 200
            assert "[DONE]" in chat(program, stream=True).text
            assert {caller.answers() for caller in callers[::100]} == {200}
            grown = memory_of(program) - before
        record_property("connections", size)
        assert grown < MOST_GROWTH * size / CROWD, f"{size} connections took {grown} bytes"
        eventually(lambda: connections(program) == 0)
        assert chat(program).status_code == 200


def test_who_idles_makes_room_and_where_nobody_does_newcomers_are_refused(run: Run) -> None:
    with run(OPEN_FILES, in_flight=16, head_s=600, keep_alive_s=600) as program:
        with crowd(program.url, PLACES, asking=lambda _: True) as callers:
            newcomer = Caller(program.url)
            assert newcomer.answers() == 200
            newcomer.close()
            eventually(callers[0].is_let_go)
            assert not callers[1].is_let_go()
        eventually(lambda: connections(program) == 0)
        with crowd(program.url, PLACES, asking=lambda _: False) as callers:
            refused = Caller(program.url)
            status, headers, body = refused.reply()
            assert (status, headers["connection"]) == (503, "close")
            assert int(headers["retry-after"]) > 0
            assert json.loads(body)["error"]["code"] == "overloaded"
            eventually(refused.is_let_go)
            refused.close()
            # Who is inside is answered, engine and all, though not one more could come in.
            callers[0].ask("/v1/chat/completions", ask())
            assert callers[0].reply()[0] == 200
            assert [line["places"] for line in program.log("connections_full")] == [PLACES]
            callers[1].close()
            eventually(lambda: _is_answered(program.url))


def test_more_callers_at_once_than_files_do_not_end_the_gateway(run: Run) -> None:
    with run(OPEN_FILES, in_flight=16) as program:
        program.process.send_signal(signal.SIGSTOP)
        rush = [Caller(program.url) for _ in range(2 * OPEN_FILES)]
        for caller in rush:
            caller.ask()
        program.process.send_signal(signal.SIGCONT)
        said = [caller.read().split(b" ")[1:2] for caller in rush]
        assert said.count([b"200"]) >= PLACES // 2
        for caller in rush:
            caller.close()
        eventually(lambda: _is_answered(program.url))
        assert chat(program).status_code == 200
        assert program.process.poll() is None


def _is_answered(url: str) -> bool:
    caller = Caller(url)
    try:
        caller.ask()
        return b" 200 " in caller.read()
    except ConnectionError:
        return False
    finally:
        caller.close()


def test_a_caller_who_stops_reading_stops_the_engine_and_its_socket_is_closed(
    run: Run, engine: ScriptedEngine
) -> None:
    # The system takes some megabytes for whoever does not read, between engine and gateway, too.
    endless, large = steps(12_000, length=2_000), steps(2_500, length=2_000)
    with run(send_s=2) as program:
        assert chat(program).status_code == 200
        before = memory_of(program)
        streaming, whole = (Caller(program.url, most_unread=4096) for _ in range(2))
        engine.enqueue(Scripted(pieces=endless))
        streaming.ask("/v1/chat/completions", ask(stream=True))
        eventually(lambda: len(engine.history) == 2)
        engine.enqueue(Scripted(pieces=large))
        whole.ask("/v1/chat/completions", ask())
        eventually(lambda: len(engine.history) == 3)
        eventually(lambda: engine.history[1].aborted)
        assert engine.history[1].sent < len(endless) * 2 / 3
        eventually(lambda: connections(program) == 0)
        grown = memory_of(program) - before
        assert grown < 60_000_000
        # Nothing but what the system had taken for them is left, and then it is over.
        for caller in (streaming, whole):
            eventually(caller.is_let_go)
            caller.close()
        outcomes = [line.get("outcome") for line in program.log("request") if line["path"] != "/readyz"]
        assert "aborted" in outcomes
        assert chat(program).status_code == 200


REQUEST = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
WAYS_TO_LINGER = {
    "says nothing": (b"", b""),
    "says its head byte by byte": (b"GET /healthz HTTP/1.1\r\nx-y: ", b"z"),
    "says nothing but ends of lines": (b"", b"\r\n"),
    "idles after a request": (REQUEST, b""),
    "says its second head byte by byte": (REQUEST + b"GET /healthz HTTP/1.1\r\nx-y: ", b"z"),
    "says ends of lines after a request": (REQUEST, b"\r\n"),
    "goes on with a body that was refused": (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 999999999\r\n\r\n",
        b"z",
    ),
}


def test_nobody_keeps_a_connection_without_asking_for_something(run: Run, engine: ScriptedEngine) -> None:
    with run(head_s=2, keep_alive_s=2) as program:
        lingering = {way: Caller(program.url) for way in WAYS_TO_LINGER}
        for way, caller in lingering.items():
            caller.socket.sendall(WAYS_TO_LINGER[way][0])
        engine.enqueue(Scripted(pieces=steps(20), pause_s=0.25))
        patient = Caller(program.url)
        patient.ask("/v1/chat/completions", ask(stream=True))
        deadline = time.monotonic() + PATIENCE_S
        while lingering:
            assert time.monotonic() < deadline, f"still there: {[*lingering]}"
            time.sleep(0.1)
            for way, caller in [*lingering.items()]:
                with contextlib.suppress(ConnectionError):
                    caller.socket.sendall(WAYS_TO_LINGER[way][1])
                if caller.is_let_go():
                    lingering.pop(way).close()
        # A reply that takes longer than all of that is no idleness.
        told = b""
        while not told.endswith(b"0\r\n\r\n"):
            piece = patient.read()
            assert piece
            told += piece
        assert b"[DONE]" in told
        assert patient.answers() == 200
        patient.close()


HEAD = b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-y: "
MOST_HEAD = 64 * 1024


def test_a_head_that_does_not_end_is_refused(run: Run) -> None:
    with run() as program:
        for head in (HEAD, b"GET /", REQUEST + HEAD):
            caller = Caller(program.url)
            if head.startswith(REQUEST):
                caller.socket.sendall(REQUEST)
                head = head.removeprefix(REQUEST)
                assert caller.reply()[0] == 200
            caller.socket.sendall(head)
            caller.socket.sendall(b"z" * (MOST_HEAD - len(head)))
            status, headers, body = caller.reply()
            assert (status, headers["connection"]) == (431, "close")
            assert json.loads(body)["error"]["code"] == "head_too_large"
            eventually(caller.is_let_go)
            caller.close()
        assert chat(program).status_code == 200


def test_trailers_that_do_not_end_are_not_kept(run: Run) -> None:
    chunked = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    with run(body_s=600) as program:
        caller = Caller(program.url)
        caller.socket.sendall(chunked + b"2\r\n{}\r\n0\r\n")
        with contextlib.suppress(ConnectionError):
            caller.socket.sendall(b"x-y: z\r\n" * MOST_HEAD)
        eventually(caller.is_let_go)
        caller.close()


def test_large_heads_and_bodies_behind_one_another_are_all_answered(run: Run) -> None:
    largest = HEAD + b"z" * (MOST_HEAD - len(HEAD) - 4) + b"\r\n\r\n"
    body = json.dumps(ask("z" * 3_000_000)).encode()
    large = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)
    with run() as program:
        caller = Caller(program.url)
        for _ in range(2):
            caller.socket.sendall(largest + large + body + largest + largest)
            assert [caller.reply()[0] for _ in range(4)] == [200] * 4
        caller.close()


def test_small_events_are_not_held_back_for_larger_ones(run: Run, engine: ScriptedEngine) -> None:
    with run() as program:
        # Held back, two or three would come at once all the time; on a busy machine they may now and then.
        most = 0
        for _ in range(5):
            engine.enqueue(Scripted(pieces=steps(40), pause_s=0.02))
            caller = Caller(program.url)
            caller.ask("/v1/chat/completions", ask(stream=True))
            reads = [caller.read()]
            while not reads[-1].endswith(b"0\r\n\r\n"):
                reads.append(caller.read())
            caller.close()
            most = max(most, sum(b'"step"' in read for read in reads))
            if most >= 36:
                break
        assert most >= 36


def test_replies_and_requests_that_outlive_the_drain_are_told_so(run: Run, engine: ScriptedEngine) -> None:
    with run(top=["drain_grace_s = 2", "drain_timeout_s = 1"]) as program:
        kept = Caller(program.url)
        assert kept.answers() == 200
        streamed, plain = Caller(program.url), Caller(program.url)
        for caller, stream in ((streamed, True), (plain, False)):
            asked = len(engine.history)
            engine.enqueue(Scripted(pieces=steps(20), stalls_after=8))
            caller.ask("/v1/chat/completions", ask(stream=stream))
            eventually(lambda asked=asked: len(engine.history) > asked)
        counting = Caller(program.url)
        engine.counts = False
        counting.ask("/tokenize", {"prompt": "x"})
        eventually(lambda: len(engine.history) == 3)
        told = streamed.read()
        program.process.send_signal(signal.SIGTERM)
        eventually(lambda: program.log("stopping"))
        # The grace: what comes is answered, and sent elsewhere for the next time.
        kept.ask()
        status, headers, _ = kept.reply()
        assert (status, headers["connection"]) == (200, "close")
        eventually(kept.is_let_go)
        while piece := streamed.read():
            told += piece
        last = [line for line in told.decode().splitlines() if line.startswith("data: ")][-1]
        assert json.loads(last.removeprefix("data: "))["error"]["code"] == "stopping"
        assert b"[DONE]" not in told
        for caller in (plain, counting):
            status, headers, body = caller.reply()
            assert (status, headers["connection"]) == (503, "close")
            assert json.loads(body)["error"]["code"] == "stopping"
        assert program.process.wait(PATIENCE_S) == 0
        assert all(asked.aborted for asked in engine.history)
