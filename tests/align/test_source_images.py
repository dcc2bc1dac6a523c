"""Pictures from anywhere: what is taken, what is refused, and what makes two of them the same."""

import hashlib
import io
import struct
import zlib

import pytest
from PIL import Image

from align.sources.images import MAX_BYTES, UnusableImage, verified
from tests.align.published_sets import picture


def encoded(image: Image.Image, format_: str = "PNG", **how: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **how)
    return file.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few hundred bytes whose header promises that many pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100)))


@pytest.mark.parametrize(
    ("content", "suffix"),
    [
        (picture(1), ".png"),
        (picture(1, "JPEG"), ".jpg"),
        (picture(1, "WEBP"), ".webp"),
        (encoded(Image.new("L", (9, 9), 7)), ".png"),
        (encoded(Image.new("RGBA", (9, 9), (1, 2, 3, 4))), ".png"),
    ],
)
def test_what_endpoints_take_stays_as_it_was_published(content: bytes, suffix: str) -> None:
    kept = verified(content)
    assert kept.content == content
    assert kept.suffix == suffix
    assert kept.sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    "content",
    [
        picture(1, "GIF"),
        picture(1, "BMP"),
        encoded(Image.new("P", (9, 9))),
        encoded(Image.new("CMYK", (9, 9)), "JPEG"),
        encoded(Image.new("LA", (9, 9), (5, 5))),
    ],
)
def test_everything_else_is_kept_as_png(content: bytes) -> None:
    kept = verified(content)
    with Image.open(io.BytesIO(kept.content)) as image:
        assert (kept.suffix, image.format) == (".png", "PNG")
        assert image.mode in ("RGB", "RGBA")


def test_of_an_animation_the_first_frame_is_kept() -> None:
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "blue")]
    for format_ in ("GIF", "WEBP", "PNG"):
        kept = verified(encoded(frames[0], format_, save_all=True, append_images=frames[1:], lossless=True))
        with Image.open(io.BytesIO(kept.content)) as image:
            assert not getattr(image, "is_animated", False)
            assert image.convert("RGB").getpixel((0, 0)) == (255, 0, 0)


def test_a_picture_that_asks_for_a_rotation_is_stored_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    kept = verified(encoded(Image.new("RGB", (20, 10)), "JPEG", exif=exif))
    with Image.open(io.BytesIO(kept.content)) as image:
        assert image.size == (10, 20)
        assert image.getexif().get(0x0112, 1) == 1


def test_sixteen_bits_of_grey_are_scaled_and_not_cut_off() -> None:
    grey = Image.frombytes("I;16", (16, 16), struct.pack("<H", 0x8000) * 256)
    with Image.open(io.BytesIO(verified(encoded(grey)).content)) as image:
        assert image.getpixel((0, 0)) == (128, 128, 128)


def test_the_same_pixels_are_the_same_in_whatever_file() -> None:
    files = [
        picture(300),
        picture(300, compress_level=0),
        picture(300, "WEBP", lossless=True),
        picture(300, "BMP"),
        encoded(Image.open(io.BytesIO(picture(300))).convert("RGBA")),
    ]
    assert len(set(files)) == len(files)
    assert len({verified(content).pixels for content in files}) == 1
    assert verified(picture(301)).pixels != verified(files[0]).pixels
    square, wide = (Image.new("RGB", size) for size in ((16, 16), (32, 8)))
    assert verified(encoded(square)).pixels != verified(encoded(wide)).pixels


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "there is no image"),
        (b"GIF89a", "not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        (encoded(Image.new("RGB", (9, 9)), "TIFF"), "not an image of a format that is taken"),
        (picture(1)[:-30], "broken or truncated"),
        (picture(1, "JPEG", size=(200, 200))[:-200], "broken or truncated"),
        (encoded(Image.new("RGB", (7, 9))), "7 x 9: smaller than 8 x 8"),
        (bomb(7000, 7000), "7000 x 7000 are more than 40,000,000 pixels"),
        (bomb(12_000, 12_000), "more than 40,000,000 pixels"),
        (bomb(60_000, 60_000), "more than 40,000,000 pixels"),
        (bytes(MAX_BYTES + 1), "more than 25,000,000 bytes"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_reason(content: bytes, why: str) -> None:
    with pytest.raises(UnusableImage, match=why):
        verified(content)
