"""Claims about other people's clients: the official Node SDK reads what the gateway says, blocks included.

The Python SDK's claims stand beside those about the wire (tests/serve/test_block_on_the_wire.py and
test_responses.py).
"""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serve.gate.wording import WITHHELD
from tests.serve.answering import ALIAS, ANSWER, FORBIDDEN, TRACE, Answering, Said, answering

REPOSITORY = Path(__file__).parents[2]
SOURCES = Path(__file__).parent / "node"
CUT_OFF = TRACE + "It is nice. " * 30 + FORBIDDEN
PATIENCE_S = 300


@pytest.fixture(scope="session")
def node() -> Path:
    """The scripts beside the SDK that their lock file names; fetched once."""
    files = sorted(path for path in SOURCES.iterdir() if path.suffix in (".js", ".json"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]
    directory = REPOSITORY / ".cache" / "node" / digest
    done = directory / "installed"
    if not done.exists():
        assert shutil.which("npm"), "these tests need Node.js and npm"
        directory.mkdir(parents=True, exist_ok=True)
        for path in files:
            shutil.copy(path, directory)
        command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        subprocess.run(command, cwd=directory, check=True, timeout=PATIENCE_S)
        done.touch()
    return directory


@pytest.fixture(scope="module")
def running() -> Iterator[Answering]:
    with answering() as gateway:
        yield gateway


@pytest.fixture
def gateway(running: Answering) -> Answering:
    running.forget()
    return running


def run(node: Path, script: str, gateway: Answering) -> Any:
    """What the script read."""
    command = ["node", f"{script}.js", f"{gateway.url}/v1", "unused-key", ALIAS, "What is this?"]
    done = subprocess.run(command, cwd=node, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("script", ["chat_plain", "chat_streamed"])
def test_node_reads_a_chat_reply(node: Path, gateway: Answering, script: str) -> None:
    told = run(node, script, gateway)
    assert told["content"] == told.get("accumulated", ANSWER) == ANSWER
    assert told["reasoning"].startswith("[visual] The picture")
    assert told["finish"] == "stop"
    assert told["safety"]["verdict"] == "comply"
    assert told["usage"]["completion_tokens"] == 20


@pytest.mark.parametrize("script", ["chat_plain", "chat_streamed"])
def test_node_reads_a_chat_block(node: Path, gateway: Answering, script: str) -> None:
    gateway.say(Said(CUT_OFF), Said(CUT_OFF))
    told = run(node, script, gateway)
    assert told["refusal"] == WITHHELD
    assert told["finish"] == "content_filter"
    assert told["safety"]["action"] == "withheld"
    assert "raised" not in told
    assert FORBIDDEN not in json.dumps(told)


@pytest.mark.parametrize("script", ["responses_plain", "responses_streamed"])
def test_node_reads_a_response(node: Path, gateway: Answering, script: str) -> None:
    told = run(node, script, gateway)
    assert told["status"] == "completed"
    assert told["text"] == ANSWER
    assert [item["type"] for item in told["output"]] == ["reasoning", "message"]
    assert told["safety"]["verdict"] == "comply"


@pytest.mark.parametrize(
    ("said", "status"), [(FORBIDDEN, "completed"), (CUT_OFF, "incomplete")], ids=["refused", "cut off"]
)
@pytest.mark.parametrize("script", ["responses_plain", "responses_streamed"])
def test_node_reads_a_blocked_response(
    node: Path, gateway: Answering, script: str, said: str, status: str
) -> None:
    gateway.say(Said(said), Said(said))
    told = run(node, script, gateway)
    assert told["status"] == status
    assert told["output"][-1]["content"][-1] == {"type": "refusal", "refusal": WITHHELD}
    assert FORBIDDEN not in json.dumps(told)
