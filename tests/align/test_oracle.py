"""The lab's oracle on the wire: it knows the lab's world, and says so of anything else."""

import base64
import io
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession
from openai import AsyncOpenAI, BadRequestError
from PIL import Image

from align.mini.oracle import MODEL, Oracle, serving
from align.mini.replies import oracle_trace
from align.mini.world import Situation, situations
from align.sources.mini import png
from policies.formats import THINK
from policies.render import render

pytestmark = pytest.mark.anyio

KNOWN = list(situations("oracle", 20))
UNKNOWN = next(situations("elsewhere", 1))


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with serving(Oracle(KNOWN)) as url:
        yield url


def part(image: bytes) -> dict[str, Any]:
    data = base64.b64encode(image).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}


def body(situation: Situation, **changes: Any) -> dict[str, Any]:
    text = {"type": "text", "text": f"Please: {situation.instruction}"}
    content = [part(png(situation.scene)), text]
    return {"model": MODEL, "messages": [{"role": "user", "content": content}]} | changes


async def post(url: str, **request: Any) -> tuple[int, dict[str, Any]]:
    async with ClientSession() as session, session.post(f"{url}/chat/completions", **request) as response:
        return response.status, await response.json()


async def test_the_official_client_gets_the_true_trajectory_and_usage(url: str) -> None:
    async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
        for situation in KNOWN:
            reply = await client.chat.completions.create(**body(situation))
            assert reply.choices[0].message.content == render(oracle_trace(situation), THINK)
            assert reply.choices[0].finish_reason == "stop"
            assert reply.usage
            assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens > 20
        assert [model.id async for model in client.models.list()] == [MODEL]


async def test_an_unknown_picture_is_refused_in_openais_form(url: str) -> None:
    async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
        with pytest.raises(BadRequestError, match="this teacher only knows the lab's world") as found:
            await client.chat.completions.create(**body(UNKNOWN))
        assert found.value.code == "unknown_situation"


def reencoded(situation: Situation) -> bytes:
    file = io.BytesIO()
    with Image.open(io.BytesIO(png(situation.scene))) as image:
        image.save(file, "JPEG")
    return file.getvalue()


ASK = {"type": "text", "text": KNOWN[0].instruction}
PICTURE = part(png(KNOWN[0].scene))


@pytest.mark.parametrize(
    "content",
    [
        [PICTURE, {"type": "text", "text": "Something else entirely"}],
        [part(reencoded(KNOWN[0])), ASK],
        [ASK],
        [PICTURE, PICTURE, ASK],
        [{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}, ASK],
        [{"type": "image_url", "image_url": {"url": "data:image/png;base64,%%%"}}, ASK],
        [{"type": "image_url"}, ASK],
        [None, 5, ASK],
        KNOWN[0].instruction,
        None,
    ],
)
async def test_nothing_but_a_known_picture_with_its_instruction_is_answered(url: str, content: Any) -> None:
    status, reply = await post(url, json={"model": "m", "messages": [{"role": "user", "content": content}]})
    assert status == 400
    assert reply["error"]["code"] == "unknown_situation"


@pytest.mark.parametrize("changes", [{"stream": True}, {"n": 2}, {"messages": "hello"}, {"model": None}])
async def test_what_it_does_not_do_is_a_400(url: str, changes: dict[str, Any]) -> None:
    status, reply = await post(url, json=body(KNOWN[0], **changes))
    assert status == 400
    assert reply["error"]["type"] == "invalid_request_error"


async def test_half_a_json_is_a_400(url: str) -> None:
    status, reply = await post(url, data=b'{"model": ')
    assert (status, reply["error"]["code"]) == (400, "invalid_request")


async def test_only_the_users_words_count(url: str) -> None:
    """A system message that quotes another instruction does not mislead it."""
    quoted = {"role": "system", "content": " ".join(situation.instruction for situation in KNOWN)}
    request = body(KNOWN[3])
    status, reply = await post(url, json=request | {"messages": [quoted, *request["messages"]]})
    assert status == 200
    assert reply["choices"][0]["message"]["content"] == render(oracle_trace(KNOWN[3]), THINK)
