"""Claims about what is let in: pictures, bodies, keys, request ids."""

import base64
import contextlib
import io
import json
import logging
import random
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from serve.door.media import PictureLimits, normalise
from serve.errors import InvalidImage
from serve.options.door import LimitSettings
from tests.serve.conftest import Start
from tests.serve.gateways import ALIAS, Gateway, ask, eventually

LIMITS = PictureLimits(image_bytes=1_000_000, image_pixels=1_000_000)
KEY = "k" * 24


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def data_url(data: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def picture(size: tuple[int, int] = (8, 6), mode: str = "RGB", color: Any = "red") -> Image.Image:
    return Image.new(mode, size, color)


def with_image(url: str) -> dict[str, Any]:
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "What is it?"}]
    return {"model": ALIAS, "messages": [{"role": "user", "content": parts}]}


def decoded(url: str) -> Image.Image:
    header, _, data = url.partition(",")
    assert header == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_picture_reaches_the_engine_as_a_fresh_png(gateway: Gateway, kind: str) -> None:
    assert gateway.post(with_image(data_url(encoded(picture(), kind)))).status_code == 200
    part = gateway.engine.history[0].body["messages"][0]["content"][0]
    image = decoded(part["image_url"]["url"])
    assert (image.size, image.mode) == ((8, 6), "RGB")


def test_orientation_is_applied_and_metadata_left_behind() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    exif[0x010E] = "secret place"
    out = decoded(normalise(data_url(encoded(picture((8, 6)), "JPEG", exif=exif)), LIMITS, "x"))
    assert out.size == (6, 8)
    assert dict(out.getexif()) == {}


def test_transparency_is_put_on_white() -> None:
    out = decoded(normalise(data_url(encoded(picture(mode="RGBA", color=(255, 0, 0, 0)))), LIMITS, "x"))
    assert out.getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "I;16", "CMYK"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    kind = "JPEG" if mode == "CMYK" else "PNG"
    out = decoded(normalise(data_url(encoded(Image.new(mode, (4, 4)), kind)), LIMITS, "x"))
    assert out.mode == "RGB"


def animated() -> bytes:
    frames = [picture(color="red"), picture(color="blue")]
    return encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:])


NOISE = random.Random(1).randbytes(30_000)
PNG = encoded(Image.frombytes("RGB", (100, 100), NOISE))


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://169.254.169.254/x.png", "data: URL"),
        ("file:///etc/passwd", "data: URL"),
        ("data:image/png,abc", "base64"),
        ("data:image/png;base64,@@@", "valid base64"),
        (data_url(b""), "supported type"),
        (data_url(encoded(picture(), "GIF"), "image/gif"), "supported type"),
        (data_url(encoded(picture(), "BMP")), "supported type"),
        (data_url(b"<svg/>", "image/svg+xml"), "supported type"),
        (data_url(PNG[:200]), "broken or truncated"),
        (data_url(PNG[: len(PNG) // 2]), "broken or truncated"),
        (data_url(encoded(picture((1001, 1000)))), "pixels"),
        (data_url(animated()), "animated"),
        (data_url(b"x" * 1_000_001), "larger than"),
    ],
)
def test_what_cannot_be_a_picture_is_refused_by_name(url: str, says: str) -> None:
    with pytest.raises(InvalidImage, match=says) as refused:
        normalise(url, LIMITS, "messages[0].content[0]")
    assert refused.value.param == "messages[0].content[0]"


def test_bad_picture_is_400_and_names_which(gateway: Gateway) -> None:
    answer = gateway.post(with_image(data_url(PNG[:200])))
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_image"
    assert answer.json()["error"]["param"] == "messages[0].content[0]"
    assert gateway.engine.history == []


def test_a_phones_picture_is_small_enough_by_default() -> None:
    assert 4032 * 3024 <= LimitSettings().image_pixels < 13_000_000


def test_bomb_is_refused_by_its_header_alone() -> None:
    # A PNG that claims 60,000 x 60,000 pixels and holds none.
    header = b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\rIHDR" + (60_000).to_bytes(4, "big") * 2
    bomb = header + b"\x08\x02\x00\x00\x00" + b"\x00" * 4
    with pytest.raises(InvalidImage):
        normalise(data_url(bomb), LIMITS, "x")


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["PNG", "JPEG", "WEBP"]),
    st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=3))),
)
def test_damage_is_refused_never_a_crash(kind: str, damage: list[tuple[int, bytes]]) -> None:
    data = bytearray(encoded(Image.frombytes("RGB", (10, 10), NOISE[:300]), kind))
    for where, what in damage:
        data[where : where + len(what)] = what
    with contextlib.suppress(InvalidImage):
        assert decoded(normalise(data_url(bytes(data)), LIMITS, "x")).mode == "RGB"


def test_more_pictures_than_allowed_are_refused(gateway: Gateway) -> None:
    body = with_image(data_url(encoded(picture())))
    body["messages"] *= 2
    assert "at most 1 image" in gateway.post(body).json()["error"]["message"]


def test_text_alone_is_fine(gateway: Gateway) -> None:
    body = ask() | {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]}
    assert gateway.post(body).status_code == 200


def test_body_over_the_limit_is_413_announced_or_not(start: Start) -> None:
    with start(limits={"body_bytes": 1000}) as gateway:
        announced = gateway.post(ask("x" * 2000))
        chunked = httpx.post(f"{gateway.url}/v1/chat/completions", content=(b"x" * 100 for _ in range(50)))
    for answer in (announced, chunked):
        assert answer.status_code == 413
        assert answer.json()["error"]["code"] == "body_too_large"


def test_compressed_body_is_415(gateway: Gateway) -> None:
    answer = httpx.post(
        f"{gateway.url}/v1/chat/completions", content=b"x", headers={"content-encoding": "gzip"}
    )
    assert answer.status_code == 415


def test_keys_guard_everything_below_v1_and_nothing_else(start: Start) -> None:
    with start(api_keys=f"{'o' * 24},{KEY}") as gateway:
        wrong = ["", "Bearer nope", KEY, f"Basic {KEY}"]
        refused = [gateway.get("/v1/models", headers={"authorization": value}) for value in wrong]
        gateway.api_key = KEY
        assert [answer.status_code for answer in refused] == [401] * 4
        assert refused[0].json()["error"]["code"] == "invalid_api_key"
        assert gateway.get("/v1/nowhere").status_code == 401
        assert [model.id for model in gateway.openai.models.list()] == ["groundrule", "pst", "base"]
        assert gateway.get("/readyz").status_code == 200
        assert gateway.get("/metrics").status_code == 200


def test_request_id_is_echoed_or_made_on_success_and_failure(gateway: Gateway) -> None:
    given = {"x-request-id": "abc-1"}
    assert gateway.post(ask(), headers=given).headers["x-request-id"] == "abc-1"
    assert gateway.get("/nowhere", headers=given).headers["x-request-id"] == "abc-1"
    assert len(gateway.get("/v1/models").headers["x-request-id"]) == 32
    assert len(gateway.get("/v1/models", headers={"x-request-id": "a b"}).headers["x-request-id"]) == 32
    assert gateway.engine.history[0].headers["x-request-id"] == "abc-1"


def test_log_has_one_line_per_request_and_no_text_of_it(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    from serve.observe.log import JsonFormatter

    ids = ["abc-2", "abc-3"]

    def lines() -> list[dict[str, Any]]:
        told = [r for r in caplog.records if r.getMessage() == "request"]
        return [line for r in told if (line := json.loads(JsonFormatter().format(r)))["request_id"] in ids]

    with caplog.at_level(logging.INFO):
        gateway.post(ask("my secret prompt"), headers={"x-request-id": ids[0]})
        gateway.get("/v1/models?q=secret", headers={"x-request-id": ids[1]})
        eventually(lambda: len(lines()) == 2)  # a line is written after its answer has left
    chat, models = sorted(lines(), key=lambda line: ids.index(line["request_id"]))
    assert (chat["status"], chat["outcome"], chat["verdicts"]) == (200, "ok", ["comply"])
    assert chat["completion_tokens"] == 7
    assert models["path"] == "/v1/models"
    assert "secret" not in json.dumps(lines())
    assert "cat" not in json.dumps(lines())
