"""Claims about LiteLLM's client, unmodified: it reads what the gateway says, blocks included, and asks once.

It runs in an environment of its own (`requirements/litellm.txt`), which is made on first use.
"""

import json
import subprocess
from pathlib import Path

import pytest

from serve.engine.call import Json
from serve.gate.wording import WITHHELD
from tests.environments import NotInstalled, interpreter
from tests.serve.answering import ALIAS, ANSWER, FORBIDDEN, TRACE, Said, answering

SCRIPT = Path(__file__).parent / "litellm_client.py"
WAYS = ("chat", "chat_streamed", "responses", "responses_streamed")
CUT_OFF = TRACE + "It is nice. " * 30 + FORBIDDEN
PATIENCE_S = 600
"""Its import alone takes ten seconds of a processor."""


@pytest.fixture(scope="module")
def python() -> Path:
    try:
        return interpreter("litellm")
    except NotInstalled as error:
        pytest.fail(f"LiteLLM's client is not there: {error}", pytrace=False)


@pytest.fixture(scope="module")
def told(python: Path) -> dict[str, Json]:
    """What the client read, in each of four ways, of an answer and of a block; it was asked for once each."""
    said = {"answer": TRACE + ANSWER, "block": CUT_OFF}
    with answering() as gateway:
        gateway.say(*(Said(text) for text in said.values() for _ in WAYS))
        command = [str(python), str(SCRIPT), f"{gateway.url}/v1", "unused-key", ALIAS, *said]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        assert len(gateway.engines.history) == len(said) * len(WAYS), "it tried something twice"
    return dict(zip(said, json.loads(done.stdout.splitlines()[-1]), strict=True))


@pytest.mark.parametrize("way", ["chat", "chat_streamed"])
def test_a_chat_reply_arrives_with_its_reasoning_and_usage(told: dict[str, Json], way: str) -> None:
    read = told["answer"][way]
    assert (read["content"], read["finish"], read["usage"]) == (ANSWER, "stop", [11, 20])
    assert read["reasoning"].startswith("[visual] The picture")


@pytest.mark.parametrize("way", ["responses", "responses_streamed"])
def test_a_response_arrives_with_its_usage(told: dict[str, Json], way: str) -> None:
    read = told["answer"][way]
    assert (read["text"], read["status"], read["usage"]) == (ANSWER, "completed", [11, 20])


@pytest.mark.parametrize("way", ["chat", "chat_streamed"])
def test_a_block_of_a_chat_is_read_as_one(told: dict[str, Json], way: str) -> None:
    assert told["block"][way]["finish"] == "content_filter"
    assert FORBIDDEN not in json.dumps(told["block"])


@pytest.mark.parametrize("way", ["responses", "responses_streamed"])
def test_a_block_of_a_response_is_read_as_a_refusal(told: dict[str, Json], way: str) -> None:
    assert (told["block"][way]["status"], told["block"][way]["refusal"]) == ("incomplete", WITHHELD)
