"""Claims about /tokenize: the engine's own count, of what the engine would get."""

import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.fakes.scripted_engine import ScriptedEngine
from tests.serve.answering import ALIAS, Answering, answering
from tests.serve.conftest import Start
from tests.serve.gateways import PATIENCE_S, eventually

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


def test_counting_takes_one_of_the_places_and_nothing_of_the_keys_tokens(gateway: Answering) -> None:
    gateway.door.places.clear()
    assert gateway.post({"prompt": "A cat"}, PATH).status_code == 200
    assert [place.used_tokens for place in gateway.door.places] == [0]


def test_counting_waits_for_its_turn_and_ends_with_its_caller(start: Start, engine: ScriptedEngine) -> None:
    engine.counts = False
    with start(limits={"in_flight": 1, "queue": 0}) as running:
        with socket.create_connection(urlsplit(running.url).netloc.split(":")) as first:
            body = b'{"prompt": "x"}'
            first.sendall(
                b"POST /tokenize HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body
            )
            eventually(lambda: engine.history)
            second = httpx.post(running.url + PATH, json={"prompt": "x"}, timeout=PATIENCE_S)
            assert (second.status_code, second.json()["error"]["code"]) == (503, "overloaded")
        eventually(lambda: engine.history[0].aborted)
        engine.counts = True
        eventually(lambda: httpx.post(running.url + PATH, json={"prompt": "x"}).status_code == 200)
