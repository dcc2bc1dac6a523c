"""Claims about pictures on their way to the engine: bombs, the cache, what guards and audit get of them."""

import asyncio
import base64
import hashlib
import io
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image, ImageFile, WebPImagePlugin

from serve.door.fetch import open_fetcher
from serve.door.media import PictureLimits, redraw
from serve.door.messages import admit_conversation
from serve.door.pictures import PictureCache, Pictures
from serve.errors import ImageUnavailable, InvalidImage, InvalidRequest
from serve.observe.metrics import Metrics
from serve.options.door import ImageSettings, LimitSettings
from tests.serve.doors import new_metrics
from tests.serve.test_fetch import PUBLIC, Host, ScriptedNames, running

pytestmark = pytest.mark.anyio
LIMITS = LimitSettings(image_bytes=200_000, image_pixels=1_000_000, images_per_request=3)


@pytest.fixture
def public() -> Iterator[Host]:
    with running(PUBLIC) as host:
        yield host


def encoded(color: str = "red", size: tuple[int, int] = (8, 6), kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, color).save(out, kind, **options)
    return out.getvalue()


def data_url(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def message(*urls: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}} for url in urls]}


def outcomes(metrics: Metrics) -> dict[str, float]:
    samples = [sample for metric in metrics.picture_cache.collect() for sample in metric.samples]
    return {s.labels["outcome"]: s.value for s in samples if s.name.endswith("_total")}


def color_of(url: str) -> Any:
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).getpixel((0, 0))


async def test_engine_guards_and_audit_get_the_same_picture() -> None:
    source = encoded(kind="JPEG")
    admitted = await admit_conversation([message(data_url(source))], Pictures(LIMITS), 3)
    [picture] = admitted.pictures
    assert admitted.messages[0]["content"] == [{"type": "image_url", "image_url": {"url": picture.url}}]
    assert picture.digest == hashlib.sha256(source).hexdigest()
    assert picture.png == base64.b64decode(picture.url.partition(",")[2])
    assert Image.open(io.BytesIO(picture.png)).format == "PNG"


async def test_a_picture_that_comes_again_is_not_drawn_again() -> None:
    metrics = new_metrics()
    pictures = Pictures(LIMITS, PictureCache(1_000_000, metrics.picture_cache))
    red, blue = data_url(encoded("red")), data_url(encoded("blue"))
    admitted = await admit_conversation([message(red, blue), message(red)], pictures, 3)
    assert outcomes(metrics) == {"miss": 2, "hit": 1}
    colors = [color_of(picture.url) for picture in admitted.pictures]
    assert colors == [(255, 0, 0), (0, 0, 255), (255, 0, 0)]


async def test_however_many_come_at_once_four_are_drawn_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once, most, lock = 0, 0, threading.Lock()

    def slow(data: bytes, limits: PictureLimits, where: str) -> str:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.02)
        with lock:
            at_once -= 1
        return redraw(data, limits, where)

    monkeypatch.setattr("serve.door.pictures.redraw", slow)
    pictures = Pictures(LIMITS)
    urls = [data_url(encoded(size=(8, 6 + side))) for side in range(24)]
    made = await asyncio.gather(*(pictures.admit(url, f"image {at}") for at, url in enumerate(urls)))
    assert len({picture.digest for picture in made}) == 24
    assert most == 4


async def test_the_cache_never_holds_more_than_it_may_and_forgets_the_longest_unused() -> None:
    metrics = new_metrics()
    cache = PictureCache(100, metrics.picture_cache)
    made: list[str] = []

    async def get(name: str, size: int = 40) -> str:
        async def make() -> str:
            made.append(name)
            return name * size

        return await cache.get_or(name, make)

    for name in ("a", "b", "a", "c", "a", "b"):
        assert await get(name) == name * 40
    # c pushed b out, as a had been asked for since; b came back in place of c.
    assert made == ["a", "b", "c", "b"]
    assert await get("x", 101) == "x" * 101
    assert await get("x", 101) == "x" * 101
    assert made[-2:] == ["x", "x"]
    await get("a")
    assert made[-1] == "x"


async def test_a_broken_picture_is_refused_each_time_and_not_kept() -> None:
    metrics = new_metrics()
    pictures = Pictures(LIMITS, PictureCache(1_000_000, metrics.picture_cache))
    for where in ("first", "second"):
        with pytest.raises(InvalidImage, match=where):
            await pictures.admit(data_url(encoded()[:50]), where)
    assert outcomes(metrics) == {"miss": 2}


def png_of(width: int, height: int) -> bytes:
    """A PNG that claims that size, with next to no data in it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(bytes(1_000_000), 9))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def webp_of(width: int, height: int) -> bytes:
    """An extended WebP whose canvas claims that size, and whose frame is one pixel."""
    frame = encoded(size=(1, 1), kind="WEBP")[12:]
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBP" + b"VP8X" + struct.pack("<I", 10) + bytes(4) + canvas + frame
    return b"RIFF" + struct.pack("<I", len(body)) + body


def jpeg_of(width: int, height: int) -> bytes:
    """A JPEG whose frame header claims that size."""
    data = bytearray(encoded(kind="JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize(
    "bomb",
    [
        png_of(2**31 - 1, 2**31 - 1),
        png_of(1_001, 1_000),
        png_of(1, 2**31 - 1),
        webp_of(2**24, 2**24 - 1),
        webp_of(16_383, 16_383),
        jpeg_of(65_500, 65_500),
    ],
)
async def test_an_image_bomb_is_refused_by_its_header(bomb: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    for reader in (ImageFile.ImageFile, WebPImagePlugin.WebPImageFile):

        def noted(self: Image.Image, load: Any = reader.load) -> Any:
            decoded.append(self.format or "")
            return load(self)

        monkeypatch.setattr(reader, "load", noted)
    with pytest.raises(InvalidImage):
        await Pictures(LIMITS).admit(data_url(bomb), "x")
    assert decoded == []
    for kind in ("PNG", "JPEG", "WEBP"):
        await Pictures(LIMITS).admit(data_url(encoded(kind=kind)), "x")
    assert set(decoded) == {"PNG", "JPEG", "WEBP"}


async def test_pictures_come_by_url_where_the_operator_allows_the_host(public: Host) -> None:
    def gigabyte() -> Iterator[bytes]:
        yield png_of(1_000, 1_000)[:-12]
        while True:
            yield bytes(65_536)

    public.pages |= {
        "/red.png": (200, {"content-type": "text/html"}, [encoded("red")]),
        "/turned.jpg": (200, {}, [encoded(size=(8, 6), kind="JPEG", exif=_turned())]),
        "/huge.png": (200, {}, gigabyte()),
        "/page.html": (200, {"content-type": "image/png"}, [b"<html>"]),
    }
    metrics = new_metrics()
    options = ImageSettings(allowed_hosts=(f"pictures.test:{public.port}",), allow_http=True)
    names = ScriptedNames(pictures_test=[[PUBLIC]])
    async with open_fetcher(
        options,
        LIMITS.image_bytes,
        metrics.picture_fetches,
        resolver=names,
        is_public=lambda address: address == PUBLIC,
    ) as fetcher:
        pictures = Pictures(LIMITS, PictureCache(1_000_000, metrics.picture_cache), fetcher)
        base = f"http://pictures.test:{public.port}"
        urls = [f"{base}/red.png", f"{base}/turned.jpg", data_url(encoded("red"))]
        admitted = await admit_conversation([message(*urls)], pictures, 3)
        red, turned, again = admitted.pictures
        assert red == again
        assert outcomes(metrics) == {"miss": 2, "hit": 1}
        assert Image.open(io.BytesIO(turned.png)).size == (6, 8)
        assert "pictures.test" not in repr(admitted)
        with pytest.raises(ImageUnavailable):
            await pictures.admit(f"{base}/huge.png", "x")
        with pytest.raises(InvalidImage, match="supported type"):
            await pictures.admit(f"{base}/page.html", "x")
        # What a URL shows may change, and so does the picture: only its bytes are known again.
        public.pages["/red.png"] = (200, {}, [encoded("blue")])
        assert color_of((await pictures.admit(f"{base}/red.png", "x")).url) == (0, 0, 255)


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


async def test_without_a_list_no_url_is_fetched_and_the_caller_is_told_what_to_do() -> None:
    with pytest.raises(InvalidImage, match="send the picture itself as a data: URL"):
        await Pictures(LIMITS).admit("https://pictures.test/a.png", "x")


async def test_pictures_are_counted_over_the_whole_conversation_before_they_are_fetched() -> None:
    red = data_url(encoded())
    with pytest.raises(InvalidRequest, match="at most 2 images") as refused:
        await admit_conversation([message(red), message(red, "https://x.test/")], Pictures(LIMITS), 2)
    assert refused.value.param == "messages[1].content[1]"


def test_what_hides_behind_the_pixels_does_not_reach_the_engine() -> None:
    hidden = b"<script>hidden</script>"
    limits = PictureLimits.of(LIMITS)
    assert redraw(encoded() + hidden, limits, "x") == redraw(encoded(), limits, "x")
