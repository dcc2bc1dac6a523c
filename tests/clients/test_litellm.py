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
RESPONSES = ("responses", "responses_streamed", "responses_known")
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
    """What the client read, in each of five ways, of an answer and of a block; it was asked for once each.

    `is_streamed` tells whether it asked for a stream.
    """
    said = {"answer": TRACE + ANSWER, "block": CUT_OFF}
    asked = [(text, way) for text in said for way in WAYS] + [(text, "responses_known") for text in said]
    with answering() as gateway:
        gateway.say(*(Said(said[text]) for text, _ in asked))
        command = [str(python), str(SCRIPT), f"{gateway.url}/v1", "unused-key", ALIAS, *said]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        history = gateway.engines.history
    told = dict(zip(said, json.loads(done.stdout.splitlines()[-1]), strict=True))
    # As many as were asked, or it tried something twice.
    for (text, way), heard in zip(asked, history, strict=True):
        told[text][way]["is_streamed"] = not heard.call.whole
    return told


@pytest.mark.parametrize("way", ["chat", "chat_streamed"])
def test_a_chat_reply_arrives_with_its_reasoning_and_usage(told: dict[str, Json], way: str) -> None:
    read = told["answer"][way]
    assert (read["content"], read["finish"], read["usage"]) == (ANSWER, "stop", [11, 20])
    assert read["reasoning"].startswith("[visual] The picture")


@pytest.mark.parametrize("way", RESPONSES)
def test_a_response_arrives_with_its_reasoning_and_usage(told: dict[str, Json], way: str) -> None:
    read = told["answer"][way]
    assert (read["text"], read["status"], read["usage"]) == (ANSWER, "completed", [11, 20])
    assert read["reasoning"].startswith("[visual] The picture")


def test_a_response_is_streamed_with_its_reasoning_once_litellm_knows_the_model(
    told: dict[str, Json],
) -> None:
    """Of a model that is not in its table of prices it asks for a plain response, and makes events of that.

    Those tell of no reasoning. `litellm.register_model` makes it known; then each event of ours is passed on,
    `response.reasoning_text.delta` as OpenAI's SDK has it.
    (litellm 1.106.2, OpenAIResponsesAPIConfig.should_fake_stream, MockResponsesAPIStreamingIterator)
    """
    made_up, passed_on = told["answer"]["responses_streamed"], told["answer"]["responses_known"]
    assert (made_up["is_streamed"], made_up["streamed_reasoning"]) == (False, "")
    assert (passed_on["is_streamed"], passed_on["streamed_reasoning"]) == (True, passed_on["reasoning"])


@pytest.mark.parametrize("way", ["chat", "chat_streamed"])
def test_a_block_of_a_chat_is_read_as_one(told: dict[str, Json], way: str) -> None:
    assert told["block"][way]["finish"] == "content_filter"
    assert FORBIDDEN not in json.dumps(told["block"])


@pytest.mark.parametrize("way", RESPONSES)
def test_a_block_of_a_response_is_read_as_a_refusal(told: dict[str, Json], way: str) -> None:
    assert (told["block"][way]["status"], told["block"][way]["refusal"]) == ("incomplete", WITHHELD)
