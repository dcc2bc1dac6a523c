"""Claims about pictures by URL: who is asked, at which address, how much is taken, and what is told."""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from starlette.types import Receive, Scope, Send

from serve.door.fetch import Fetcher, open_fetcher
from serve.door.resolver import is_public
from serve.errors import ImageUnavailable
from serve.options.door import ImageSettings
from tests.serve.doors import new_metrics, running_app
from tests.serve.gateways import PATIENCE_S

pytestmark = pytest.mark.anyio
CAP = 200_000
PUBLIC, PRIVATE = "127.0.0.1", "127.0.0.2"
"""What the tests take for the public Internet, and for our own network."""


@dataclass
class Host:
    """A scripted web server: what it is to say by path, and who asked."""

    pages: dict[str, Any] = field(default_factory=dict)
    history: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    sent_bytes: int = 0
    url: str = ""

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.history.append((scope["path"], headers))
        status, more, pieces = self.pages.get(scope["path"], (200, {}, [b"picture"]))
        names = [(name.encode(), value.encode()) for name, value in more.items()]
        await send({"type": "http.response.start", "status": status, "headers": names})
        for piece in pieces:
            if isinstance(piece, float):
                await asyncio.sleep(piece)
                continue
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            self.sent_bytes += len(piece)
            # A lone task that is never told to wait would starve whoever hangs up.
            await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b""})


@contextmanager
def running(address: str) -> Iterator[Host]:
    host = Host()
    with running_app(host, address) as host.url:
        yield host


@pytest.fixture
def public() -> Iterator[Host]:
    with running(PUBLIC) as host:
        yield host


@pytest.fixture
def private() -> Iterator[Host]:
    with running(PRIVATE) as host:
        yield host


class ScriptedNames(AbstractResolver):
    """Answers each name with what it is told, one answer after the other; the last one stays."""

    def __init__(self, **answers: Sequence[Sequence[str]]) -> None:
        self._answers = {name.replace("_", "."): list(them) for name, them in answers.items()}
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append(host)
        answers = self._answers.get(host)
        if answers is None:
            raise socket.gaierror(f"no such name: {host}")
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        pass


@dataclass
class Fetching:
    """A fetcher, and how its tries ended."""

    fetcher: Fetcher
    outcomes: Callable[[], dict[str, float]]

    async def refused(self, url: str) -> str:
        """Why, by the metrics; and what the caller is told says nothing of it."""
        before = self.outcomes()
        with pytest.raises(ImageUnavailable) as refused:
            await self.fetcher.fetch(url, "messages[0].content[1]")
        assert refused.value.message == (
            "messages[0].content[1]: the picture could not be fetched; send it as a data: URL"
        )
        assert (refused.value.code, refused.value.param) == ("image_unavailable", "messages[0].content[1]")
        [outcome] = [name for name, count in self.outcomes().items() if count > before.get(name, 0)]
        return outcome


@asynccontextmanager
async def fetching(names: AbstractResolver, *allowed: str, **changes: Any) -> AsyncIterator[Fetching]:
    metrics = new_metrics()
    options = {"allowed_hosts": allowed, "allow_http": True, "fetch_s": PATIENCE_S} | changes

    def outcomes() -> dict[str, float]:
        samples = [sample for metric in metrics.picture_fetches.collect() for sample in metric.samples]
        return {s.labels["outcome"]: s.value for s in samples if s.name.endswith("_total")}

    async with open_fetcher(
        ImageSettings(**options),
        CAP,
        metrics.picture_fetches,
        resolver=names,
        is_public=lambda address: address == PUBLIC,
    ) as fetcher:
        yield Fetching(fetcher, outcomes)


async def test_a_picture_comes_from_an_allowed_host_and_nothing_of_ours_goes_there(
    public: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    public.pages["/a.png"] = (200, {"set-cookie": "id=1"}, [b"pic", b"ture"])
    names = ScriptedNames(pictures_test=[[PUBLIC]])
    async with fetching(names, f"pictures.test:{public.port}") as door:
        for _ in range(2):
            url = f"http://pictures.test:{public.port}/a.png"
            assert await door.fetcher.fetch(url, "x") == b"picture"
        assert door.outcomes() == {"fetched": 2}
    path, headers = public.history[-1]
    assert path == "/a.png"
    assert headers == {
        "host": f"pictures.test:{public.port}",
        "accept": "image/png, image/jpeg, image/webp",
        "accept-encoding": "identity",
        "user-agent": "groundrule",
        "connection": "close",
    }


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://other.test:8000/", "pictures.test:8000"),
        ("http://pictures.test.evil.test:8000/", "pictures.test:8000"),
        ("http://evilpictures.test:8000/", "*.pictures.test:8000"),
        ("http://pictures.test:8000/", "*.pictures.test:8000"),
        ("http://.pictures.test:8000/", "*.pictures.test:8000"),
        ("http://pictures.test:8001/", "pictures.test:8000"),
        ("http://pictures.test/", "pictures.test:8000"),
        ("http://pictures.test:8000/", "pictures.test"),
        ("http://pictures.test@other.test:8000/", "pictures.test:8000"),
        ("http://user:word@pictures.test:8000/", "pictures.test:8000"),
        ("http://other.test:8000\\@pictures.test:8000/", "pictures.test:8000"),
        ("http://other.test:8000#@pictures.test:8000/", "pictures.test:8000"),
        ("ftp://pictures.test:8000/", "pictures.test:8000"),
        ("file:///etc/passwd", "pictures.test:8000"),
        ("gopher://pictures.test:8000/", "pictures.test:8000"),
        ("//pictures.test:8000/", "pictures.test:8000"),
        ("pictures.test:8000/", "pictures.test:8000"),
        ("", "pictures.test:8000"),
        ("http://pictures.test:8000/" + "a" * 9000, "pictures.test:8000"),
        ("http://pictures.test:99999/", "pictures.test:8000"),
        ("http://[::1", "pictures.test:8000"),
    ],
)
async def test_a_host_that_is_not_on_the_list_is_not_even_looked_up(url: str, allowed: str) -> None:
    names = ScriptedNames()
    async with fetching(names, allowed) as door:
        assert await door.refused(url) in ("not_allowed", "failed")
    assert names.asked == []


async def test_a_suffix_takes_every_name_below_it(public: Host) -> None:
    names = ScriptedNames(a_pictures_test=[[PUBLIC]], b_a_pictures_test=[[PUBLIC]])
    async with fetching(names, f"*.pictures.test:{public.port}") as door:
        for name in ("a.pictures.test", "b.a.pictures.test", "A.Pictures.TEST"):
            assert await door.fetcher.fetch(f"http://{name}:{public.port}/", "x") == b"picture"


async def test_without_encryption_nothing_is_fetched_unless_the_operator_wants_it(public: Host) -> None:
    names = ScriptedNames(pictures_test=[[PUBLIC]])
    async with fetching(names, f"pictures.test:{public.port}", allow_http=False) as door:
        assert await door.refused(f"http://pictures.test:{public.port}/") == "not_allowed"
    assert names.asked == []


NOT_PUBLIC = """
127.0.0.1 127.1.2.3 0.0.0.0 10.1.2.3 172.16.0.1 192.168.1.1 100.64.0.1 100.100.100.200 169.254.169.254
192.0.0.8 192.0.0.192 192.0.2.1 192.88.99.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.250
240.0.0.1 255.255.255.255 168.63.129.16
:: ::1 ::127.0.0.1 ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:169.254.169.254 ::ffff:168.63.129.16 64:ff9b::7f00:1
64:ff9b::a9fe:a9fe 64:ff9b:1::1 2002:7f00:1:: 2001::1 2001:0:7f00:1::1 2001:db8::1 3fff::1 100::1 5f00::1
fe80::1 fe80::1%eth0 fec0::1 fc00::1 fd00:ec2::254 ff02::1 ff0e::1
2130706433 0x7f000001 0177.0.0.1 127.1 localhost 8.8.8.8.8 [::1]
"""
ALL_PUBLIC = "8.8.8.8 1.1.1.1 168.63.129.15 192.0.1.1 2606:4700:4700::1111 2a00:1450:4001::1 ::ffff:8.8.8.8"


def test_what_counts_as_public() -> None:
    assert [address for address in NOT_PUBLIC.split() if is_public(address)] == []
    assert [address for address in ALL_PUBLIC.split() if not is_public(address)] == []


async def test_addresses_that_are_not_public_are_never_dialled(private: Host) -> None:
    """Not by name, not as one of several, not written into the URL; the operator's list changes nothing."""
    port = private.port
    mixed = ScriptedNames(
        inside_test=[[PRIVATE]], mixed_test=[[PUBLIC, PRIVATE]], six_test=[["::1"]], none_test=[[]]
    )
    hosts = ["inside.test", "mixed.test", "six.test", PRIVATE]
    async with fetching(mixed, *(f"{host}:{port}" for host in hosts)) as door:
        for host in hosts:
            assert await door.refused(f"http://{host}:{port}/") == "not_public"
    assert private.history == []


@pytest.mark.parametrize("spelling", ["2130706434", "0x7f000002", "0177.0.0.2", "127.2"])
async def test_no_other_spelling_of_an_address_gets_through(private: Host, spelling: str) -> None:
    from aiohttp.resolver import ThreadedResolver

    async with fetching(ThreadedResolver(), f"{spelling}:{private.port}") as door:
        assert await door.refused(f"http://{spelling}:{private.port}/") in ("not_public", "failed")
    assert private.history == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_to_loopback_or_metadata_is_refused_at_its_hop(
    public: Host, private: Host, status: int
) -> None:
    names = ScriptedNames(pictures_test=[[PUBLIC]], inside_test=[[PRIVATE]])
    start = f"http://pictures.test:{public.port}"
    targets = {
        f"http://{PRIVATE}:{private.port}/": "not_public",
        f"http://inside.test:{private.port}/": "not_public",
        f"//inside.test:{private.port}/": "not_public",
        "http://169.254.169.254/latest/meta-data/": "not_public",
        "http://metadata.google.internal/": "not_allowed",
        "file:///etc/passwd": "not_allowed",
        f"http://other.test:{public.port}/": "not_allowed",
    }
    listed = [f"{name}:{private.port}" for name in (PRIVATE, "inside.test")]
    async with fetching(names, f"pictures.test:{public.port}", *listed, "169.254.169.254") as door:
        for target, outcome in targets.items():
            public.pages["/a.png"] = (status, {"location": target}, [b"here"])
            assert (target, await door.refused(f"{start}/a.png")) == (target, outcome)
    assert private.history == []
    assert "other.test" not in names.asked


async def test_a_redirect_within_the_list_is_followed_three_times(public: Host) -> None:
    names = ScriptedNames(pictures_test=[[PUBLIC]], other_test=[[PUBLIC]])
    other = f"http://other.test:{public.port}"
    public.pages |= {
        "/0": (302, {"location": "/1"}, []),
        "/1": (302, {"location": f"{other}/2"}, []),
        "/2": (302, {"location": "3"}, []),
        "/loop": (302, {"location": "/loop"}, []),
        "/nowhere": (302, {}, []),
    }
    async with fetching(names, f"pictures.test:{public.port}", f"other.test:{public.port}") as door:
        start = f"http://pictures.test:{public.port}"
        assert await door.fetcher.fetch(f"{start}/0", "x") == b"picture"
        assert [path for path, _ in public.history] == ["/0", "/1", "/2", "/3"]
        public.history.clear()
        for path in ("/loop", "/nowhere"):
            assert await door.refused(start + path) == "failed"
            assert len(public.history) == 4
            public.history.clear()


async def test_a_name_that_answers_differently_the_second_time_is_asked_once(
    public: Host, private: Host
) -> None:
    port = public.port
    names = ScriptedNames(pictures_test=[[PUBLIC], [PRIVATE]])
    async with fetching(names, f"pictures.test:{port}") as door:
        assert await door.fetcher.fetch(f"http://pictures.test:{port}/", "x") == b"picture"
        assert names.asked == ["pictures.test"]
        # The next fetch asks anew, and is bound by what it hears.
        assert await door.refused(f"http://pictures.test:{port}/") == "not_public"
    assert private.history == []


async def test_bytes_are_capped_while_streaming(public: Host) -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(50_000)

    public.pages |= {
        "/endless": (200, {}, endless()),
        "/announced": (200, {"content-length": str(1 << 30)}, [b"x"]),
        "/fits": (200, {}, [bytes(CAP // 2)] * 2),
    }
    async with fetching(ScriptedNames(pictures_test=[[PUBLIC]]), f"pictures.test:{public.port}") as door:
        start = f"http://pictures.test:{public.port}"
        assert await door.refused(f"{start}/endless") == "too_large"
        # The rest is what two sockets hold.
        assert public.sent_bytes < CAP + 16_000_000
        assert await door.refused(f"{start}/announced") == "too_large"
        assert len(await door.fetcher.fetch(f"{start}/fits", "x")) == CAP


async def test_a_host_that_trickles_is_let_go_in_time(public: Host) -> None:
    public.pages["/slow"] = (200, {}, [b"x", 0.1] * 1000)
    names = ScriptedNames(pictures_test=[[PUBLIC]])
    async with fetching(names, f"pictures.test:{public.port}", fetch_s=0.5) as door:
        began = time.monotonic()
        assert await door.refused(f"http://pictures.test:{public.port}/slow") == "late"
        assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    "page",
    [
        (404, {}, [b"no"]),
        (206, {}, [b"part"]),
        (304, {}, []),
        (500, {}, []),
        (200, {"content-encoding": "gzip"}, [b"bomb"]),
        (200, {"content-length": "100"}, [b"short"]),
    ],
)
async def test_whatever_is_not_a_whole_plain_answer_is_no_picture(public: Host, page: Any) -> None:
    public.pages["/"] = page
    async with fetching(ScriptedNames(pictures_test=[[PUBLIC]]), f"pictures.test:{public.port}") as door:
        assert await door.refused(f"http://pictures.test:{public.port}/") == "failed"


async def test_nobody_there_says_no_more_than_anything_else() -> None:
    with socket.create_server((PUBLIC, 0)) as listener:
        port = listener.getsockname()[1]
    names = ScriptedNames(pictures_test=[[PUBLIC]])
    async with fetching(names, f"pictures.test:{port}", f"nobody.test:{port}") as door:
        assert await door.refused(f"http://pictures.test:{port}/") == "failed"
        assert await door.refused(f"http://nobody.test:{port}/") == "failed"


async def test_tls_asks_for_the_name_though_an_address_is_dialled() -> None:
    with socket.create_server((PUBLIC, 0)) as listener:
        thread = threading.Thread(target=_answer_without_tls, args=(listener,), daemon=True)
        thread.start()
        port = listener.getsockname()[1]
        async with fetching(ScriptedNames(pictures_test=[[PUBLIC]]), f"pictures.test:{port}") as door:
            assert await door.refused(f"https://pictures.test:{port}/") == "failed"
        thread.join(PATIENCE_S)


def _answer_without_tls(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        # The first bytes of TLS, with the name that is asked for in them.
        assert b"pictures.test" in connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
