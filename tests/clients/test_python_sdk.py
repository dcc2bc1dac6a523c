"""Claims about the official Python SDK: what its users meet beyond a plain reply and a block.

Those stand beside the claims about the wire (tests/serve/test_block_on_the_wire.py, test_responses.py).
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from serve.engine.call import Json
from serve.errors import RateLimited
from tests.fakes.scripted_engine import ScriptedEngine
from tests.serve.answering import (
    ALIAS,
    ANSWER,
    BASE,
    FORBIDDEN,
    TRACE,
    Answering,
    Said,
    answering,
    ask,
    ask_responses,
)
from tests.serve.conftest import settings_for
from tests.serve.gateways import PATIENCE_S, eventually, running_gateway, write_bundle

TOOL: Json = {
    "type": "function",
    "function": {
        "name": "look",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"at": {"type": "string"}},
            "required": ["at"],
            "additionalProperties": False,
        },
    },
}
CALL: Json = {
    "index": 0,
    "id": "c1",
    "type": "function",
    "function": {"name": "look", "arguments": '{"at":"it"}'},
}
CALLS = Said(TRACE, tool_calls=[CALL], finish="tool_calls")
BUSY = RateLimited("this key may begin 1 requests a minute; wait", wait_s=1)


class Sight(BaseModel):
    """What a caller wants a reply to be."""

    animal: str


@pytest.fixture(scope="module")
def running() -> Iterator[Answering]:
    with answering() as gateway:
        yield gateway


@pytest.fixture
def gateway(running: Answering) -> Answering:
    running.forget()
    return running


@pytest.fixture
def sdk(gateway: Answering) -> Any:
    """The SDK; what it would retry fails the test."""
    return gateway.openai


def test_a_chat_reply_is_parsed_into_the_callers_type(gateway: Answering, sdk: Any) -> None:
    gateway.say(Said('{"animal": "cat"}'))
    parsed = sdk.chat.completions.parse(**ask(model=BASE), response_format=Sight)
    assert parsed.choices[0].message.parsed == Sight(animal="cat")
    (heard,) = gateway.engines.history
    assert heard.call.payload["response_format"]["json_schema"]["name"] == "Sight"


def test_a_response_is_parsed_into_the_callers_type(gateway: Answering, sdk: Any) -> None:
    gateway.say(Said('{"animal": "cat"}'))
    parsed = sdk.responses.parse(**ask_responses(model=BASE), text_format=Sight)
    assert parsed.output_parsed == Sight(animal="cat")


def test_a_form_that_leaves_no_place_for_a_trace_is_refused_by_name(gateway: Answering, sdk: Any) -> None:
    for parse, asked, form in (
        (sdk.chat.completions.parse, ask(), {"response_format": Sight}),
        (sdk.responses.parse, ask_responses(), {"text_format": Sight}),
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            parse(**asked, **form)
        assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "response_format")
    assert not gateway.engines.history


def test_a_block_is_no_parsed_reply(gateway: Answering, sdk: Any) -> None:
    gateway.say(Said(FORBIDDEN))
    with pytest.raises(openai.ContentFilterFinishReasonError):
        sdk.chat.completions.parse(**ask(model=BASE), response_format=Sight)


def test_tool_calls_arrive_plain_and_streamed_and_their_results_go_back(gateway: Answering, sdk: Any) -> None:
    gateway.say(CALLS, CALLS, Said())
    message = sdk.chat.completions.parse(**ask(tools=[TOOL])).choices[0].message
    assert message.tool_calls[0].function.parsed_arguments == {"at": "it"}
    with sdk.chat.completions.stream(**ask(tools=[TOOL])) as stream:
        choice = stream.get_final_completion().choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls[0].function.arguments == CALL["function"]["arguments"]
    result = {"role": "tool", "tool_call_id": "c1", "content": "a cat"}
    asked = [*ask()["messages"], message.model_dump(exclude_none=True), result]
    assert sdk.chat.completions.create(model=ALIAS, messages=asked).choices[0].message.content == ANSWER
    (*_, heard) = gateway.engines.history
    assert [sent["role"] for sent in heard.call.payload["messages"]] == ["user", "assistant", "tool"]


def test_every_choice_of_several_arrives(gateway: Answering, sdk: Any) -> None:
    texts = [TRACE + "One.", TRACE + "Two."]
    gateway.say(Said(texts=texts), Said(texts=texts))
    plain = sdk.chat.completions.create(**ask(n=2))
    with sdk.chat.completions.stream(**ask(n=2)) as stream:
        streamed = stream.get_final_completion()
    for told in (plain, streamed):
        assert [choice.message.content for choice in told.choices] == ["One.", "Two."]


@pytest.mark.parametrize("stream", [False, True])
def test_who_is_told_to_wait_waits_and_is_answered(gateway: Answering, stream: bool) -> None:
    gateway.say(Said(refuses=BUSY), Said())
    patient: Any = gateway.openai.with_options(max_retries=1)
    told = patient.chat.completions.create(**ask(stream=stream))
    if stream:
        text = "".join(choice.delta.content or "" for chunk in told for choice in chunk.choices)
    else:
        text = told.choices[0].message.content
    assert text == ANSWER
    assert len(gateway.engines.history) == 2


def test_who_does_not_wait_learns_for_how_long_to(gateway: Answering, sdk: Any) -> None:
    gateway.say(Said(refuses=BUSY))
    with pytest.raises(openai.RateLimitError) as refused:
        sdk.chat.completions.create(**ask())
    assert (refused.value.code, refused.value.response.headers["retry-after"]) == ("rate_limited", "1")


@pytest.mark.parametrize("stream", [False, True])
def test_a_caller_whose_patience_ends_ends_the_generation(gateway: Answering, stream: bool) -> None:
    gateway.say(Said(stalls_after=0))
    hasty: Any = gateway.openai.with_options(timeout=2)
    with pytest.raises(openai.APITimeoutError):
        hasty.chat.completions.create(**ask(stream=stream))
    eventually(lambda: gateway.engines.history and gateway.engines.history[0].is_left)


def test_a_caller_who_closes_a_stream_ends_the_generation(gateway: Answering, sdk: Any) -> None:
    gateway.say(Said(TRACE + ANSWER * 50, pause_s=0.05))
    stream = sdk.chat.completions.create(**ask(stream=True))
    next(iter(stream))
    stream.close()
    eventually(lambda: gateway.engines.history[0].is_left)
    assert gateway.engines.history[0].was_cut_off


@pytest.mark.anyio
async def test_the_asynchronous_client_reads_both_apis(gateway: Answering) -> None:
    async with AsyncOpenAI(
        base_url=f"{gateway.url}/v1", api_key="unused", max_retries=0, timeout=PATIENCE_S
    ) as client:
        sdk: Any = client
        async with sdk.chat.completions.stream(**ask()) as stream:
            completion = await stream.get_final_completion()
        async with sdk.responses.stream(**ask_responses()) as events:
            response = await events.get_final_response()
    assert completion.choices[0].message.content == response.output_text == ANSWER


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def test_a_wrong_key_is_told_once_and_is_no_reason_to_try_again(tmp_path: Path) -> None:
    write_bundle(tmp_path / "pst")
    with ScriptedEngine().running() as engine:
        settings = settings_for(engine, tmp_path / "pst", api_keys="0123456789abcdef")
        with running_gateway(settings, engine) as gateway:
            sdk: Any = OpenAI(base_url=f"{gateway.url}/v1", api_key="a wrong one", timeout=PATIENCE_S)
            with pytest.raises(openai.AuthenticationError) as refused:
                sdk.chat.completions.create(**ask())
            sdk = sdk.with_options(api_key="0123456789abcdef")
            assert sdk.models.retrieve(ALIAS).id == ALIAS
            assert sdk.moderations.create(input="What is this?").results[0].flagged is False
    assert refused.value.code == "invalid_api_key"
    assert json.loads(refused.value.response.text)["error"]["param"] is None
