"""Claims about a reply that is read more slowly than it comes."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
import pytest

from serve.engine.stream import Json, ReplyStream
from serve.errors import EngineFailed, EngineTimeout, GatewayError

CHUNKS: list[Json] = [{"choices": [{"index": 0, "delta": {"content": it}}]} for it in ("It is", " a cat.")]
DONE = b"data: [DONE]\n\n"
HEADERS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def told(*, end: bytes = b"") -> bytes:
    return b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in CHUNKS) + end


@contextmanager
def engine(body: bytes, *, hangs_up: bool) -> Iterator[str]:
    """It says all of the body at once, and never that this was all."""

    def serve(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(HEADERS + f"{len(body):x}\r\n".encode() + body + b"\r\n")
            if not hangs_up:
                connection.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as server:
        serving = threading.Thread(target=serve, args=(server,))
        serving.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        serving.join()


def read_late(body: bytes, *, hangs_up: bool = True) -> tuple[list[Json], GatewayError | None]:
    """Everything that was read once the connection was broken, or silent for too long."""
    with engine(body, hangs_up=hangs_up) as url:
        return asyncio.run(reading_late(url))


async def reading_late(url: str) -> tuple[list[Json], GatewayError | None]:
    timeout = aiohttp.ClientTimeout(sock_read=0.2)
    async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
        while response.content.exception() is None:
            await asyncio.sleep(0.01)
        reply, chunks = ReplyStream(response), []
        try:
            async for batch in reply:
                chunks += batch
        except GatewayError as error:
            return chunks, error
        finally:
            await reply.close()
        return chunks, None


@pytest.mark.parametrize(("hangs_up", "failure"), [(True, EngineFailed), (False, EngineTimeout)])
def test_what_came_before_the_engine_died_or_fell_silent_is_read_before_that_is_told(
    hangs_up: bool, failure: type[GatewayError]
) -> None:
    chunks, error = read_late(told(), hangs_up=hangs_up)
    assert chunks == CHUNKS
    assert type(error) is failure


def test_a_reply_that_was_told_to_its_end_is_whole_though_the_engine_died_before_it_was_read() -> None:
    assert read_late(told(end=DONE)) == (CHUNKS, None)


def test_an_error_in_what_came_before_the_engine_died_is_what_is_told() -> None:
    refusal = b'data: {"error": {"message": "too long", "code": 400}}\n\n'
    chunks, error = read_late(told(end=refusal))
    assert chunks == CHUNKS
    assert error
    assert error.message == "too long"
