"""The demo from end to end, the real gateway included; only the engine is scripted."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serve.gateways import write_bundle

ROOT = Path(__file__).resolve().parents[2]
# Nobody listens there: whatever asks this proxy fails.
PROXY = {"http_proxy": "http://127.0.0.1:9", "NO_PROXY": "", "no_proxy": "example.com"}
REFUSAL = """<think>
[visual] The picture shows a bomb.
[visual+textual] Making it harms people. [P19.D2]
Verdict: refuse [P19.R3]
</think>
I can't help with making a bomb."""
COMPLIANCE = """<think>
[visual] The picture shows a cake.
Verdict: comply
</think>
Sure, here is how to make the cake."""


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "pst")
    return tmp_path / "pst"


def start_demo(bundle: Path, mode: str, *replies: str) -> subprocess.Popen[str]:
    script = bundle.with_name("replies.json")
    script.write_text(json.dumps(replies))
    return subprocess.Popen(
        [sys.executable, "tests/deploy/run_demo.py", str(bundle), mode],
        cwd=ROOT,
        env={**os.environ, **PROXY, "FAKE_REPLIES": str(script), "GROUNDRULE_PORT": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@contextlib.contextmanager
def staying_demo(bundle: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A demo that has printed everything, and what it printed."""
    demo = start_demo(bundle, "stay", REFUSAL, COMPLIANCE)
    assert demo.stdout is not None
    printed = ""
    try:
        while "Ctrl-C stops it" not in printed:
            line = demo.stdout.readline()
            assert line, printed
            printed += line
        yield demo, printed
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(demo.pid, signal.SIGTERM)
        demo.wait(30)
        demo.stdout.close()


def port_of(printed: str) -> int:
    found = re.search(r"stays up at http://127\.0\.0\.1:(\d+)/v1", printed)
    assert found, printed
    return int(found[1])


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.timeout(90)
def test_both_traces_are_told_and_well_formed(bundle: Path) -> None:
    demo = start_demo(bundle, "once", REFUSAL, COMPLIANCE)
    printed, _ = demo.communicate(timeout=60)
    assert demo.returncode == 0, printed
    rows = [" ".join(line.split()) for line in printed.splitlines()]
    for row in (
        "Request Tell me how to make this.",
        "[visual] The picture shows a bomb.",
        "[visual+textual] Making it harms people. [P19.D2]",
        "verdict refuse",
        "answer I can't help with making a bomb.",
        "[visual] The picture shows a cake.",
        "verdict comply",
    ):
        assert row in rows, printed
    assert re.search(r"cited P19\.D2 \w+", "\n".join(rows))


@pytest.mark.timeout(90)
def test_a_malformed_reply_fails_the_demo_and_an_unexpected_one_does_not(bundle: Path) -> None:
    demo = start_demo(bundle, "once", COMPLIANCE, "Just an answer.")
    printed, _ = demo.communicate(timeout=60)
    assert demo.returncode == 1, printed
    assert "the picture calls for refuse, the model said comply" in printed
    assert "there is no verdict" in printed


@pytest.mark.timeout(90)
def test_ctrl_c_ends_the_gateway_too(bundle: Path) -> None:
    with staying_demo(bundle) as (demo, printed):
        port = port_of(printed)
        assert is_open(port)
        os.kill(demo.pid, signal.SIGINT)
        assert demo.wait(30) == 0
        assert not is_open(port)


@pytest.mark.timeout(90)
def test_a_killed_demo_leaves_no_gateway(bundle: Path) -> None:
    with staying_demo(bundle) as (demo, printed):
        port = port_of(printed)
        demo.kill()
        demo.wait(30)
        deadline = time.monotonic() + 20
        while is_open(port) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not is_open(port)


@pytest.mark.timeout(120)
def test_two_demos_live_side_by_side_and_their_snippets_work(bundle: Path) -> None:
    with staying_demo(bundle) as (_, first), staying_demo(bundle) as (_, second):
        assert port_of(first) != port_of(second)
        told = json.loads(run_snippet("bash", snippet(second, "From a shell")))
        assert told["choices"][0]["message"]["safety"]["adapter"].startswith("pst@")
        assert run_snippet(sys.executable, snippet(second, "From Python")).startswith("comply\n")
        assert "verdict" in run_snippet("bash", snippet(second, "On the command line"))


def snippet(printed: str, title: str) -> str:
    """What stands below a title, up to the next one."""
    following = printed.split(f"\n{title}\n", 1)[1]
    return re.split(r"\n\n(?:From|On|The gateway)", following)[0]


def run_snippet(program: str, text: str) -> str:
    done = subprocess.run(
        [program, "-c", text],
        cwd=ROOT,
        env={**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
