"""Claims about /tokenize: the engine's own count, of what the engine would get."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.serve.answering import ALIAS, Answering, answering

PATH = "/tokenize"


@pytest.fixture(scope="module")
def running() -> Iterator[Answering]:
    with answering() as gateway:
        yield gateway


@pytest.fixture
def gateway(running: Answering) -> Answering:
    running.engines.tokenized.clear()
    return running


def test_a_prompt_is_counted_by_the_engine(gateway: Answering) -> None:
    told = gateway.post({"model": ALIAS, "prompt": "A cat"}, PATH).json()
    assert told == {"count": 3, "max_model_len": 4096, "tokens": [1, 2, 3]}
    assert gateway.engines.tokenized == [{"prompt": "A cat"}]


def test_a_conversation_is_counted_as_the_engine_would_get_it(gateway: Answering) -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "A cat", "unknown": 1}]}]
    assert gateway.post({"messages": messages}, PATH).json()["count"] == 3
    part = {"type": "text", "text": "A cat"}
    assert gateway.engines.tokenized == [{"messages": [{"role": "user", "content": [part]}]}]


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"model": "nobody", "prompt": "x"}, 404, "model"),
        ({"prompt": 3}, 400, "prompt"),
        ({}, 400, "prompt"),
        ({"messages": "x"}, 400, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "audio"}]}]}, 400, "messages[0].content[0]"),
        ({"prompt": "x", "chat_template": "y"}, 400, "chat_template"),
        ({"prompt": "x", "truncate_prompt_tokens": 1}, 400, "truncate_prompt_tokens"),
        ({"prompt": "x", "mm_processor_kwargs": {"max_pixels": 1}}, 400, "mm_processor_kwargs"),
        ({"prompt": "x", "media_io_kwargs": {"image": {}}}, 400, "media_io_kwargs"),
    ],
    ids=str,
)
def test_mistakes_are_named(gateway: Answering, body: Any, status: int, param: str) -> None:
    answer = gateway.post(body, PATH)
    assert answer.status_code == status
    assert answer.json()["error"]["param"] == param
    assert gateway.engines.tokenized == []
