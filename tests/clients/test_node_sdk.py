"""Claims about the official Node SDK: it reads what the gateway says, and what its users meet beyond a reply.

The Python SDK's claims stand in test_python_sdk.py and beside those about the wire (tests/serve).
"""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from serve.gate.wording import WITHHELD
from tests.clients.test_python_sdk import BUSY, CALL, CALLS
from tests.serve.answering import ALIAS, ANSWER, BASE, FORBIDDEN, TRACE, Heard, Said, answering
from tests.serve.gateways import eventually

REPOSITORY = Path(__file__).parents[2]
SOURCES = Path(__file__).parent / "node"
PATIENCE_S = 300
CUT_OFF = Said(TRACE + "It is nice. " * 30 + FORBIDDEN)
ALL_OF_IT = Said(FORBIDDEN)
SIGHT = Said('{"animal": "cat"}')
ENDLESS = Said(TRACE + ANSWER * 50, pause_s=0.05)
ARGUMENTS = CALL["function"]["arguments"]
CHAT = ["chat.plain", "chat.chunks", "chat.accumulated"]
RESPONSES = ["responses.plain", "responses.events", "responses.accumulated"]
REPLIES: dict[str, list[Said]] = {
    **{way: [Said()] for way in (*CHAT, *RESPONSES, "chat.onlySteps")},
    **{f"{way} cut off": [CUT_OFF] for way in (*CHAT, *RESPONSES)},
    **{f"{way} blocked": [ALL_OF_IT] for way in (*CHAT, *RESPONSES)},
    **{way: [SIGHT] for way in ("chat.parsed", "chat.parsedFromStream", "responses.parsed")},
    **{f"{way} blocked": [ALL_OF_IT] for way in ("chat.parsed", "chat.parsedFromStream", "responses.parsed")},
    "chat.parsedBesideTrace": [],
    **{f"{api}.{way}": [CALLS] for api in ("chat", "responses") for way in ("calls", "callsFromStream")},
    "chat.toolsRun": [CALLS, Said()],
    "chat.busy": [Said(refuses=BUSY)],
    "responses.busy": [Said(refuses=BUSY)],
    "chat.patient": [Said(refuses=BUSY), Said()],
    "chat.late": [Said(stalls_after=0)],
    **{way: [ENDLESS] for way in ("chat.aborted", "chat.helperAborted", "responses.helperAborted")},
}
"""What the engine says to each case; the case's name is its first word."""


@dataclass(frozen=True)
class Told:
    """What a case read, and what the engine heard of it."""

    read: Any
    heard: list[Heard]


@pytest.fixture(scope="module")
def node() -> Path:
    """The scripts beside the SDK that their lock file names; fetched once."""
    lock = SOURCES / "package-lock.json"
    directory = REPOSITORY / ".cache" / "node" / hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    done = directory / "installed"
    directory.mkdir(parents=True, exist_ok=True)
    for path in SOURCES.iterdir():
        shutil.copy(path, directory)
    if not done.exists():
        assert shutil.which("npm"), "these tests need Node.js and npm"
        command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        subprocess.run(command, cwd=directory, check=True, timeout=PATIENCE_S)
        done.touch()
    return directory


@pytest.fixture(scope="module")
def told(node: Path) -> Iterator[dict[str, Told]]:
    """Every case, in one process, since the SDK takes long to load; nothing was asked for twice."""
    cases = [label.split()[0] for label in REPLIES]
    with answering() as gateway:
        gateway.say(*(said for replies in REPLIES.values() for said in replies))
        command = ["node", "ask.js", f"{gateway.url}/v1", "unused-key", ALIAS, BASE, "What is this?", *cases]
        done = subprocess.run(
            command, cwd=node, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        assert done.returncode == 0, done.stderr
        assert not gateway.engines.replies, "it asked for less"
        history = iter(gateway.engines.history)
        read = json.loads(done.stdout)
        yield {
            label: Told(one, [next(history) for _ in REPLIES[label]])
            for label, one in zip(REPLIES, read, strict=True)
        }
        assert next(history, None) is None, "it tried something twice"


@pytest.mark.parametrize("way", CHAT)
def test_a_chat_reply_is_read(told: dict[str, Told], way: str) -> None:
    read = told[way].read
    assert read["content"] == read.get("heard", ANSWER) == ANSWER
    assert read["reasoning"].startswith("[visual] The picture")
    assert read["finish"] == "stop"
    assert read["safety"]["verdict"] == "comply"
    assert [step["source"] for step in read["safety"]["steps"]] == ["visual", "textual"]
    assert read["usage"]["completion_tokens"] == 20


def test_a_chats_steps_come_one_by_one(told: dict[str, Told]) -> None:
    read = told["chat.chunks"].read
    assert read["steps"] == read["safety"]["steps"]


def test_a_trace_in_steps_alone_is_read(told: dict[str, Told]) -> None:
    read = told["chat.onlySteps"].read
    assert not read["reasoning"]
    assert read["safety"] == told["chat.plain"].read["safety"]


@pytest.mark.parametrize("how", ["cut off", "blocked"])
@pytest.mark.parametrize("way", CHAT)
def test_a_block_of_a_chat_is_read_as_one(told: dict[str, Told], way: str, how: str) -> None:
    read = told[f"{way} {how}"].read
    assert read["refusal"] == read.get("declined", WITHHELD) == WITHHELD
    assert read["finish"] == "content_filter"
    assert read["safety"]["action"] == "withheld"
    assert FORBIDDEN not in json.dumps(read)


def test_the_streaming_helper_tells_how_a_chat_ended(told: dict[str, Told]) -> None:
    assert told["chat.accumulated"].read["ends"] == ["content.done", "finalMessage", "end"]
    assert told["chat.accumulated blocked"].read["ends"] == ["refusal.done", "finalMessage", "end"]


@pytest.mark.parametrize("way", RESPONSES)
def test_a_response_is_read(told: dict[str, Told], way: str) -> None:
    read = told[way].read
    assert read["status"] == "completed"
    assert read["text"] == read.get("heard", ANSWER) == ANSWER
    assert [item["type"] for item in read["output"]] == ["reasoning", "message"]
    assert read["safety"]["verdict"] == "comply"
    assert read["usage"]["output_tokens"] == 20


def test_a_responses_reasoning_and_steps_come_as_events(told: dict[str, Told]) -> None:
    read = told["responses.events"].read
    assert read["reasoning"] == read["output"][0]["content"][0]["text"]
    assert read["steps"] == read["safety"]["steps"]


@pytest.mark.parametrize(("how", "status"), [("blocked", "completed"), ("cut off", "incomplete")])
@pytest.mark.parametrize("way", RESPONSES)
def test_a_block_of_a_response_is_read_as_a_refusal(
    told: dict[str, Told], way: str, how: str, status: str
) -> None:
    read = told[f"{way} {how}"].read
    assert read["status"] == status
    assert read["output"][-1]["content"][-1] == {"type": "refusal", "refusal": WITHHELD}
    assert read.get("declined", WITHHELD) == WITHHELD
    assert FORBIDDEN not in json.dumps(read)


@pytest.mark.parametrize("way", ["chat.parsed", "chat.parsedFromStream", "responses.parsed"])
def test_a_reply_is_parsed_into_the_callers_form(told: dict[str, Told], way: str) -> None:
    assert told[way].read == {"animal": "cat"}
    (heard,) = told[way].heard
    assert heard.call.payload["response_format"]["json_schema"]["name"] == "Sight"


def test_a_block_is_no_parsed_reply(told: dict[str, Told]) -> None:
    for way in ("chat.parsed", "chat.parsedFromStream"):
        assert told[f"{way} blocked"].read["raised"] == "ContentFilterFinishReasonError"
    assert told["responses.parsed blocked"].read is None


def test_a_form_that_leaves_no_place_for_a_trace_is_refused_by_name(told: dict[str, Told]) -> None:
    read = told["chat.parsedBesideTrace"].read
    assert (read["raised"], read["status"]) == ("BadRequestError", 400)
    assert (read["code"], read["param"]) == ("unsupported_parameter", "response_format")


def test_tool_calls_of_a_chat_arrive_plain_and_streamed(told: dict[str, Told]) -> None:
    for way in ("chat.calls", "chat.callsFromStream"):
        assert told[way].read["finish"] == "tool_calls"
        (call,) = told[way].read["calls"]
        assert (call["id"], call["function"]["arguments"]) == (CALL["id"], ARGUMENTS)
        assert call["function"]["parsed_arguments"] == {"at": "it"}
    (done,) = told["chat.callsFromStream"].read["done"]
    assert (done["name"], done["arguments"]) == ("look", ARGUMENTS)


def test_tool_calls_of_a_response_arrive_plain_and_streamed(told: dict[str, Told]) -> None:
    for way in ("responses.calls", "responses.callsFromStream"):
        assert told[way].read["status"] == "completed"
        (call,) = told[way].read["calls"]
        assert (call["call_id"], call["name"], call["arguments"]) == (CALL["id"], "look", ARGUMENTS)
    assert told["responses.callsFromStream"].read["done"] == [ARGUMENTS]


def test_the_sdk_runs_a_tool_and_its_result_goes_back(told: dict[str, Told]) -> None:
    assert told["chat.toolsRun"].read == {"content": ANSWER, "seen": [{"at": "it"}]}
    (_, heard) = told["chat.toolsRun"].heard
    assert [sent["role"] for sent in heard.call.payload["messages"]] == ["user", "assistant", "tool"]


def test_who_is_told_to_wait_waits_and_is_answered(told: dict[str, Told]) -> None:
    assert told["chat.patient"].read == ANSWER


@pytest.mark.parametrize("way", ["chat.busy", "responses.busy"])
def test_who_does_not_wait_learns_for_how_long_to(told: dict[str, Told], way: str) -> None:
    read = told[way].read
    assert (read["raised"], read["status"], read["retryAfter"]) == ("RateLimitError", 429, "1")
    assert read["code"] == "rate_limited"


def test_a_caller_whose_patience_ends_ends_the_generation(told: dict[str, Told]) -> None:
    assert told["chat.late"].read["raised"] == "APIConnectionTimeoutError"
    (heard,) = told["chat.late"].heard
    eventually(lambda: heard.is_left)


@pytest.mark.parametrize("way", ["chat.aborted", "chat.helperAborted", "responses.helperAborted"])
def test_a_caller_who_aborts_a_stream_ends_the_generation(told: dict[str, Told], way: str) -> None:
    (heard,) = told[way].heard
    eventually(lambda: heard.is_left)
    assert heard.was_cut_off
    assert way == "chat.aborted" or told[way].read["raised"] == "APIUserAbortError"
