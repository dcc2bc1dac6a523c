"""Claims about bodies: what is read of one that is too large, too slow, a bomb, or one of too many."""

import asyncio
import contextlib
import gzip
import http.client
import itertools
import json
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import Message, Receive, Scope, Send

from serve.door.body import BodyBudget, BodyCap, let_go_of_body
from serve.door.inflate import PIECE_BYTES, Inflater
from serve.door.tallies import GATEWAY, Held, Tallies
from serve.errors import BodyTooLarge, UnsupportedBody
from tests.serve.doors import answer, answering_errors, code_of, new_metrics, read_body, running_app
from tests.serve.gateways import PATIENCE_S, eventually

CAP = 100_000
MIB = 1024 * 1024


@dataclass
class Door:
    """A running door, and what came through it."""

    url: str
    read_bytes: int = 0
    """From the caller, before anything is inflated."""
    passed_bytes: int = 0
    """To the application."""

    def post(self, body: bytes | Iterator[bytes], coding: str | None = None) -> httpx.Response:
        headers = {} if coding is None else {"content-encoding": coding}
        return httpx.post(f"{self.url}/v1/x", content=body, headers=headers, timeout=PATIENCE_S)

    def connect(self) -> socket.socket:
        address = urlsplit(self.url)
        assert address.port is not None
        return socket.create_connection(("127.0.0.1", address.port), PATIENCE_S)


Start = Callable[..., contextlib.AbstractContextManager[Door]]


@pytest.fixture
def start() -> Start:
    @contextlib.contextmanager
    def start(
        limit_bytes: int = CAP,
        most_s: float = PATIENCE_S,
        budget: BodyBudget | None = None,
        hold: threading.Event | None = None,
    ) -> Iterator[Door]:
        door = Door("")

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            async def noted() -> Message:
                message = await receive()
                door.passed_bytes += len(message.get("body", b""))
                return message

            body = await read_body(noted)
            if hold:
                while not hold.is_set():
                    await asyncio.sleep(0.01)
                let_go_of_body(scope)
            await answer(send, zlib.crc32(body))

        cap = BodyCap(app, limit_bytes, most_s, 100, budget)

        async def counting(scope: Scope, receive: Receive, send: Send) -> None:
            async def counted() -> Message:
                message = await receive()
                door.read_bytes += len(message.get("body", b""))
                return message

            await cap(scope, counted, send)

        with running_app(answering_errors(counting)) as door.url:
            yield door

    return start


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """200 MiB in a thousandth of it."""
    deflate = zlib.compressobj(1, zlib.DEFLATED, 31)
    mib = bytes(MIB)
    return b"".join(deflate.compress(mib) for _ in range(200)) + deflate.flush()


def test_a_gigabyte_is_refused_after_its_first_bytes(start: Start) -> None:
    with start() as door:
        announced = http.client.HTTPConnection(urlsplit(door.url).netloc, timeout=PATIENCE_S)
        announced.putrequest("POST", "/v1/x")
        announced.putheader("content-length", str(1024 * MIB))
        announced.endheaders()
        answered = announced.getresponse()
        assert (answered.status, code_of(answered.read())) == (413, "body_too_large")
        assert answered.headers["connection"] == "close"
        assert door.read_bytes == 0
        announced.close()
        with door.connect() as chunked:
            chunked.sendall(b"POST /v1/x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
            piece = b"10000\r\n" + bytes(65536) + b"\r\n"
            with contextlib.suppress(ConnectionError):
                for _ in range(16 * 1024):
                    chunked.sendall(piece)
                pytest.fail("all of it was taken")
        # Beyond the cap only what the server had read ahead.
        assert CAP < door.read_bytes < CAP + MIB // 2
        assert door.passed_bytes <= CAP


def test_a_zip_bomb_stops_at_the_cap(start: Start, bomb: bytes) -> None:
    with start(limit_bytes=20 * MIB) as door:
        began_s = time.process_time()
        answered = door.post(bomb, "gzip")
        took_s = time.process_time() - began_s
        assert (answered.status_code, code_of(answered.content)) == (413, "body_too_large")
        assert door.passed_bytes <= MIB + PIECE_BYTES
        assert took_s < 0.5
    with start(limit_bytes=MIB // 2) as door:
        assert code_of(door.post(bomb, "gzip").content) == "body_too_large"
        assert door.passed_bytes <= MIB // 2


def raw_deflate(data: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-15)
    return deflate.compress(data) + deflate.flush()


CODINGS = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "GZIP": ("GZIP", gzip.compress),
    "zlib": ("deflate", zlib.compress),
    "bare": ("deflate", raw_deflate),
    "identity": ("identity", bytes),
}


@pytest.mark.parametrize("name", CODINGS)
def test_a_compressed_body_arrives_as_it_was(start: Start, name: str) -> None:
    coding, compress = CODINGS[name]
    text = json.dumps([{"content": f"message {number}"} for number in range(2000)]).encode()
    with start() as door:
        assert door.post(compress(text), coding).json() == zlib.crc32(text)
        sent = compress(text)
        in_pieces = (sent[at : at + 7000] for at in range(0, len(sent), 7000))
        assert door.post(in_pieces, coding).json() == zlib.crc32(text)


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (b"x", "gzip"),
        (b"", "gzip"),
        (b"", "deflate"),
        (gzip.compress(b"text", mtime=0)[:-4], "gzip"),
        (gzip.compress(b"text", mtime=0) + b"more", "gzip"),
        (gzip.compress(b"a", mtime=0) + gzip.compress(b"b", mtime=0), "gzip"),
        (zlib.compress(b"text"), "gzip"),
        (gzip.compress(b"text", mtime=0), "br"),
        (gzip.compress(gzip.compress(b"text", mtime=0), mtime=0), "gzip, gzip"),
    ],
)
def test_what_is_not_what_it_says_is_415(start: Start, body: bytes, coding: str) -> None:
    with start() as door:
        answered = door.post(body, coding)
        assert (answered.status_code, code_of(answered.content)) == (415, "unsupported_body")


@settings(max_examples=60, deadline=None)
@given(
    text=st.binary(max_size=3000),
    cuts=st.lists(st.integers(0, 3000), max_size=8),
    name=st.sampled_from(sorted(set(CODINGS) - {"identity", "GZIP"})),
)
def test_wherever_the_network_cuts_a_body_it_inflates_to_the_same(
    text: bytes, cuts: list[int], name: str
) -> None:
    coding, compress = CODINGS[name]
    sent, inflater, out = compress(text), Inflater(coding, 100), b""
    places = sorted({0, len(sent), *(cut for cut in cuts if cut < len(sent))})
    for begin, end in itertools.pairwise(places):
        inflater.feed(sent[begin:end])
        while piece := inflater.take():
            out += piece
    inflater.end()
    assert out == text


def test_nothing_stays_inside_where_a_body_ends_with_a_piece() -> None:
    for over in (0, 1, 21, 60, 100, 150, 230, 300):
        length = PIECE_BYTES + over
        inflater, out = Inflater("deflate", 2000), 0
        inflater.feed(raw_deflate(bytes(length)))
        while piece := inflater.take():
            out += len(piece)
        inflater.end()
        assert out == length


@settings(max_examples=60, deadline=None)
@given(damage=st.lists(st.tuples(st.integers(0, 120), st.binary(min_size=1, max_size=3)), min_size=1))
def test_damage_is_refused_never_a_crash(damage: list[tuple[int, bytes]]) -> None:
    data = bytearray(gzip.compress(bytes(range(100)), mtime=0))
    for where, what in damage:
        data[where : where + len(what)] = what
    inflater = Inflater("gzip", 100)
    inflater.feed(bytes(data))
    with contextlib.suppress(UnsupportedBody, BodyTooLarge):
        while inflater.take():
            pass
        inflater.end()


def test_even_text_is_no_bomb_while_it_is_small(start: Start) -> None:
    with start(limit_bytes=2 * MIB) as door:
        assert door.post(gzip.compress(bytes(MIB)), "gzip").status_code == 200


def test_ten_slow_bodies_do_not_hold_the_gateway(start: Start) -> None:
    with start(most_s=3) as door, contextlib.ExitStack() as stack:
        slow = [stack.enter_context(door.connect()) for _ in range(10)]
        for connection in slow:
            connection.sendall(b"POST /v1/x HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nx")
        assert door.post(b"quick").json() == zlib.crc32(b"quick")
        time.sleep(0.5)
        for connection in slow:
            # One more byte now and then buys no time.
            connection.sendall(b"x")
        answers = [connection.makefile("rb").read() for connection in slow]
    assert all(text.startswith(b"HTTP/1.1 408") for text in answers)
    assert all(b"connection: close" in text.lower() and b"body_timeout" in text for text in answers)


def test_many_bodies_together_have_one_budget(start: Start) -> None:
    tallies, hold, metrics = Tallies.alone(8), threading.Event(), new_metrics()
    budget = BodyBudget(tallies, 3 * CAP - 1, metrics.rejected)

    def held() -> int:
        return tallies.held(GATEWAY, Held.BODY_BYTES)

    with start(budget=budget, hold=hold) as door:
        body = bytes(CAP)
        threads = [threading.Thread(target=door.post, args=(body,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        eventually(lambda: held() == 2 * CAP)
        for sent, coding in ((body, None), (zlib.compress(body), "deflate")):
            refused = door.post(sent, coding)
            assert (refused.status_code, code_of(refused.content)) == (503, "overloaded")
            assert refused.headers["retry-after"] == "1"
        eventually(lambda: held() == 2 * CAP)
        # The engine has them: the callers' replies may take as long as they like.
        hold.set()
        eventually(lambda: held() == 0)
        for thread in threads:
            thread.join(PATIENCE_S)
        assert door.post(body).status_code == 200
    assert held() == 0


def test_a_caller_who_leaves_within_its_body_holds_nothing(start: Start) -> None:
    tallies = Tallies.alone(8)
    budget = BodyBudget(tallies, 10 * CAP, new_metrics().rejected)
    with start(budget=budget) as door:
        with door.connect() as leaver:
            leaver.sendall(b"POST /v1/x HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n" + bytes(500))
            eventually(lambda: tallies.held(GATEWAY, Held.BODY_BYTES) == 500)
        eventually(lambda: tallies.held(GATEWAY, Held.BODY_BYTES) == 0)
