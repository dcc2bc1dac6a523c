"""Claims about what is asked of an engine and how its reply is read."""

import asyncio
import json
from pathlib import Path

import pytest

from serve.engine.pool import MOST_KEPT_BYTES
from serve.errors import (
    EngineFailed,
    InvalidRequest,
    UnsupportedParameter,
)
from tests.fakes.scripted_engine import PLAIN_REPLY, Scripted, ScriptedEngine
from tests.serve.gateways import ALIAS
from tests.serve.pooled import MESSAGES, opened, pool_of, ready, text_of, until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]


async def test_chunks_of_one_read_come_together_and_none_is_lost(
    engines: list[ScriptedEngine], bundle: Path
) -> None:
    async with ready(engines[:1], bundle) as it:
        engines[0].enqueue(Scripted(cuts=(0,)))
        async with it.pools.stream_chat(it.call()) as batches:
            read = [batch async for batch in batches]
        chunks = [chunk for batch in read for chunk in batch]
        assert len(read) * 5 < len(chunks)
        assert "".join(map(text_of, chunks)) == PLAIN_REPLY
        assert chunks[-1]["usage"]["completion_tokens"]


async def test_good_chunks_before_a_failure_in_the_same_read_are_delivered_first(
    engines: list[ScriptedEngine], bundle: Path
) -> None:
    good = {"choices": [{"index": 0, "delta": {"content": "good"}}]}
    frames = [json.dumps(one).encode() for one in (good, good, {"error": {"message": "boom"}}, good)]
    stream = b"".join(b"data: " + frame + b"\n\n" for frame in frames)
    async with ready(engines[:1], bundle) as it:
        engines[0].enqueue(Scripted(extra_bytes=stream, pauses={0: 0.2}))
        async with it.pools.stream_chat(it.call()) as batches:
            reading = aiter(batches)
            assert [text_of(chunk) for chunk in await anext(reading)] == ["good", "good"]
            with pytest.raises(EngineFailed):
                await anext(reading)


async def test_a_plain_answer_is_asked_for_whole_and_read_as_one_chunk(
    engines: list[ScriptedEngine], bundle: Path
) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    async with ready(engines[:1], bundle) as it:
        engines[0].enqueue(Scripted(tool_calls=[call, call]))
        async with it.pools.stream_chat(it.call(whole=True)) as batches:
            ((chunk,),) = [batch async for batch in batches]
        assert engines[0].history[0].whole
        (choice,) = chunk["choices"]
        assert choice["delta"]["content"] == PLAIN_REPLY
        assert choice["finish_reason"] == "stop"
        assert [one["index"] for one in choice["delta"]["tool_calls"]] == [0, 1]


async def test_a_large_request_is_streamed_so_that_it_need_not_be_kept(
    engines: list[ScriptedEngine], bundle: Path
) -> None:
    async with ready(engines[:1], bundle) as it:
        large = [{"role": "user", "content": "x" * MOST_KEPT_BYTES}]
        assert await it.ask(it.call(whole=True, messages=large)) == PLAIN_REPLY
        assert not engines[0].history[0].whole
        assert engines[0].history[0].body["messages"] == large


async def test_leaving_makes_the_engine_abort(engines: list[ScriptedEngine], bundle: Path) -> None:
    async with ready(engines[:1], bundle) as it:
        engines[0].enqueue(Scripted(stalls_after=3))
        async with it.pools.stream_chat(it.call()) as batches:
            await anext(aiter(batches))
        await until(lambda: engines[0].history[0].aborted)
        assert it.pools["main"].replicas[0].in_flight == 0


async def test_a_caller_who_leaves_before_the_first_chunk_frees_the_replica(
    engines: list[ScriptedEngine], bundle: Path
) -> None:
    async with ready(engines[:1], bundle) as it:
        engines[0].enqueue(Scripted(headers_after_s=30))
        asking = asyncio.create_task(it.ask())
        await until(lambda: bool(engines[0].history))
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert it.pools["main"].replicas[0].in_flight == 0
        assert await it.ask() == PLAIN_REPLY


async def test_engines_are_told_id_key_model_and_to_count(
    engines: list[ScriptedEngine], bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGINE_KEY", "not-a-real-key")
    pools = {"pools": [pool_of(engines[:1], key_variable="ENGINE_KEY")]}
    async with ready(engines[:1], bundle, engine=pools) as it:
        await it.ask(it.call(temperature=0, stream_options={"include_usage": False}))
        asked = engines[0].history[0]
        assert asked.headers["authorization"] == "Bearer not-a-real-key"
        assert asked.headers["x-request-id"] == "req-1"
        (name,) = engines[0].adapters
        assert asked.body == {
            "model": name,
            "messages": MESSAGES,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        }
        await it.ask(it.call(alias="base"))
        assert engines[0].history[1].body["model"] == "base"


async def test_a_key_that_is_not_there_ends_the_gateway_and_says_which(
    engines: list[ScriptedEngine], bundle: Path
) -> None:
    pools = {"pools": [pool_of(engines, key_variable="NO_SUCH_KEY")]}
    async with opened(engines, bundle, engine=pools) as it:
        await until(lambda: bool(it.fatal))
        assert "NO_SUCH_KEY" in it.fatal[0]


async def test_tokens_are_counted_by_the_engine_or_not_at_all(
    engines: list[ScriptedEngine], bundle: Path
) -> None:
    async with ready(engines, bundle) as it:
        route = it.registry.resolve(ALIAS)
        answer = await it.pools.tokenize(route, {"model": ALIAS, "prompt": "x"}, "req-1")
        assert answer["tokens"] == [1, 2, 3]
        (asked,) = [one for engine in engines for one in engine.history]
        assert asked.body["model"] == route.version.engine_name
    models = [{"alias": "cot", "pool": "main"}]
    transformers = {"pools": [pool_of(engines, kind="transformers")]}
    async with ready(engines, bundle, engine=transformers, adapters=[], models=models) as it:
        with pytest.raises(InvalidRequest, match="cannot tokenize"):
            await it.pools.tokenize(it.registry.resolve("cot"), {"prompt": "x"}, "req-1")
        with pytest.raises(UnsupportedParameter, match=r"^n: "):
            await it.ask(it.call(alias="cot", n=2))
