"""Text that an engine sends under another name than a reply's text: scanned there as well, or left out.

On the wire of the composed gateway, enforcing. The other known leaks are in test_leaks.
"""

import json
import re
from typing import Any

import pytest

from serve.gate.wording import WITHHELD
from tests.fakes.raw_engine import DONE, Raw, chunk, frames, said
from tests.fakes.scripted_engine import Scripted
from tests.serve.gateways import ALIAS, Gateway
from tests.serve.guarded import ANSWER, ASKED, FORBIDDEN, TRACE, Json, tell


@pytest.fixture
def gateway(guarded: Gateway) -> Gateway:
    guarded.engine.replies.clear()
    guarded.engine.history.clear()
    return guarded


WORDS = json.dumps({"x": FORBIDDEN})
CALL = {"index": 0, "id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
TOKEN = {"token": FORBIDDEN, "logprob": -0.5, "bytes": None, "top_logprobs": []}


def token(text: str, **fields: Any) -> Json:
    return {"content": [{**TOKEN, "token": text, **fields}]}


FIELDS: dict[str, list[Json]] = {
    "content": [chunk({"content": FORBIDDEN})],
    "reasoning": [chunk({"reasoning": FORBIDDEN})],
    "reasoning_content": [chunk({"reasoning_content": FORBIDDEN})],
    "the engine's refusal": [chunk({"refusal": FORBIDDEN[:5]}), chunk({"refusal": FORBIDDEN[5:]})],
    "a tool's name": [chunk({"tool_calls": [{**CALL, "function": {"name": FORBIDDEN, "arguments": "{}"}}]})],
    "a tool's arguments": [
        chunk({"tool_calls": [{**CALL, "function": {"name": "look", "arguments": WORDS[:9]}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": WORDS[9:]}}]}),
    ],
    "escaped in a tool's arguments": [
        chunk(
            {
                "tool_calls": [
                    {
                        **CALL,
                        "function": {"name": "look", "arguments": WORDS.replace("F", "\\u0046")},
                    }
                ]
            }
        )
    ],
    "the id of a call": [chunk({"tool_calls": [{**CALL, "id": FORBIDDEN}]})],
    "a field of a call": [chunk({"tool_calls": [{**CALL, "note": {FORBIDDEN: 1}}]})],
    "an unknown field of a delta": [chunk({"thinking": FORBIDDEN, "audio": {"transcript": FORBIDDEN}})],
    "an unknown field of a choice": [chunk({}, message={"content": FORBIDDEN}, text=FORBIDDEN)],
    "an unknown field of a chunk": [{**chunk({}), "moderation": FORBIDDEN, "prompt_text": FORBIDDEN}],
    "a known field of a chunk": [
        {**chunk({}), **dict.fromkeys(("id", "model", "object", "system_fingerprint"), FORBIDDEN)}
    ],
    "an unknown kind of chunk": [{"type": "response.output_text.delta", "delta": FORBIDDEN}],
    "usage": [
        {
            "choices": [],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "note": FORBIDDEN, FORBIDDEN: 1},
        }
    ],
    "a choice that nobody asked for": [chunk({"content": FORBIDDEN}, index=1)],
    "the reason to stop": [chunk({}, FORBIDDEN, stop_reason=FORBIDDEN)],
    "a token beside the text": [chunk({"content": ""}, logprobs=token(FORBIDDEN))],
    "tokens beside the text": [
        chunk(
            {"content": ""},
            logprobs={"content": [*token("FORB")["content"], *token(FORBIDDEN[4:])["content"]]},
        )
    ],
    "a token across the text's end": [
        chunk({"content": "FORBIDDEN"}, logprobs=token("FORBIDDEN")),
        chunk({"content": ""}, logprobs=token("-WORD")),
    ],
    "a token's bytes": [chunk({"content": "x"}, logprobs=token("x", bytes=[*FORBIDDEN.encode()]))],
    "a token's number": [chunk({"content": "x"}, logprobs=token("x", logprob=FORBIDDEN))],
    "log-probabilities of a refusal": [
        chunk({}, logprobs={"content": [], "refusal": token(FORBIDDEN)["content"]})
    ],
    "an error's message": [
        {"error": {"code": 400, "message": f"cannot read {FORBIDDEN}", "param": FORBIDDEN}}
    ],
    "an error's code": [{"error": {"code": FORBIDDEN, "message": FORBIDDEN, "type": FORBIDDEN}}],
}
"""By what the engine calls it: what comes between a proper beginning and a proper end."""


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("stream", [False, True])
def test_whatever_the_engine_calls_it_unscanned_text_does_not_leave(
    gateway: Gateway, name: str, stream: bool
) -> None:
    chunks = [*said([TRACE, "It is "], finish=None), *FIELDS[name], chunk({}, "stop")]
    gateway.engine.enqueue(Raw(writes=[*frames(chunks), DONE]))
    told = tell(gateway, stream=stream, logprobs=True)
    assert FORBIDDEN not in spelled(told.raw)
    assert not told.holds(FORBIDDEN)
    assert told.status in (200, 400, 503)
    assert told.error != "internal_error"


def spelled(raw: str) -> str:
    """What the tokens in it say, by their words and by their bytes."""
    words = re.findall(r'"token":"([^"]*)"', raw)
    numbers = ",".join(re.findall(r'"bytes":\[([0-9,]+)\]', raw)).split(",")
    return "".join(words) + "\n" + bytes(int(number) for number in numbers if number).decode()


def test_tokens_that_are_no_text_are_told_where_nobody_objects(gateway: Gateway) -> None:
    ending = chunk({}, "stop", logprobs=token("<|im_end|>"))
    gateway.engine.enqueue(Raw(writes=[*frames([*said([TRACE, ANSWER], finish=None), ending]), DONE]))
    told = tell(gateway, stream=True, logprobs=True)
    assert (told.answer, told.refusal) == (ANSWER, "")
    assert spelled(told.raw).startswith("<|im_end|>")


@pytest.mark.parametrize("stream", [False, True])
def test_an_engine_that_quotes_the_model_in_its_refusal_is_not_quoted(gateway: Gateway, stream: bool) -> None:
    quoting = {"message": f"1 validation error: input_value='{FORBIDDEN}'", "param": "tools", "code": 400}
    plain = {"message": "min_p must be in [0, 1]", "param": "min_p", "code": 400}
    gateway.engine.enqueue(Scripted(status=400, error=quoting), Scripted(status=400, error=plain))
    withheld, helpful = (tell(gateway, stream=stream) for _ in range(2))
    assert (withheld.status, withheld.error) == (helpful.status, helpful.error) == (400, "engine_rejected")
    assert not withheld.holds(FORBIDDEN)
    assert "min_p must be" in helpful.raw


@pytest.mark.parametrize("stream", [False, True])
def test_choices_tools_and_logprobs_go_together_and_one_block_takes_its_own(
    gateway: Gateway, stream: bool
) -> None:
    """Of three choices the second calls a tool with the word; its neighbours keep all they have."""
    spoken = [TRACE, "A cat."]
    chunks = [
        chunk({"content": text}, index=index, logprobs={"content": [{"token": text, "logprob": -0.5}]})
        for text in spoken
        for index in range(3)
    ]
    for index in (2, 0, 1):
        name = FORBIDDEN if index == 1 else f"look-{index}"
        call = {**CALL, "id": f"c{index}", "function": {"name": name, "arguments": "{}"}}
        chunks.append(chunk({"tool_calls": [call]}, "tool_calls", index))
    gateway.engine.enqueue(Raw(writes=[*frames(chunks), DONE]))
    body = {"model": ALIAS, "messages": ASKED, "n": 3, "logprobs": True, "tools": [], "stream": stream}
    if stream:
        choices = merged(gateway.events(body)[:-1])
    else:
        choices = {one["index"]: {**one, **one["message"]} for one in gateway.post(body).json()["choices"]}
    assert FORBIDDEN not in str(choices)
    assert [choices[index]["finish_reason"] for index in range(3)] == [
        "tool_calls",
        "content_filter",
        "tool_calls",
    ]
    assert choices[1]["refusal"] == WITHHELD
    assert not choices[1].get("tool_calls")
    assert not choices[1]["logprobs"]
    for index in (0, 2):
        assert choices[index]["content"] == "A cat."
        assert [call["function"]["name"] for call in choices[index]["tool_calls"]] == [f"look-{index}"]
        assert [one["token"] for one in choices[index]["logprobs"]["content"]] == spoken


def merged(events: list[Json]) -> dict[int, Json]:
    """By choice: its texts joined, and whatever else it was told last."""
    choices: dict[int, Json] = {}
    for choice in (choice for event in events for choice in event["choices"]):
        all_of_it = choices.setdefault(choice["index"], {"content": "", "refusal": ""})
        for name, value in choice["delta"].items():
            joins = name in ("content", "refusal")
            all_of_it[name] = all_of_it[name] + value if joins else value
        all_of_it |= {name: choice[name] for name in ("finish_reason", "logprobs")}
    return choices
