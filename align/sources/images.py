"""A picture from anywhere, checked before any model or trainer opens it.

The header decides what is decoded at all; what is kept is the file as published wherever every reader
down the journey takes it, and a fresh PNG otherwise. Knows nothing of sources and rows.
"""

import hashlib
import io
import struct
import warnings
import zlib
from dataclasses import dataclass

from PIL import Image, ImageOps, UnidentifiedImageError

MAX_BYTES = 25_000_000
MAX_PIXELS = 40_000_000
MIN_SIDE = 8
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")

_OPENED_AS = frozenset({*FORMATS, "MPO"})
"""Phones save JPEGs with a second picture inside; Pillow gives those a format of their own."""
_SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp"}
"""Formats that are kept as published; endpoints take them."""
_KEPT_MODES = frozenset({"RGB", "RGBA", "L"})
_ORIENTATION = 0x0112
_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)
# All that Pillow's readers were seen to raise on damaged files.
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    NotImplementedError,
    MemoryError,
    EOFError,
    struct.error,
    zlib.error,
)


class UnusableImage(Exception):
    """No picture that could be trained on; the message says why, without its bytes."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that was decoded whole."""

    content: bytes
    """The file to keep."""
    suffix: str
    sha256: str
    """Of the file to keep, 64 hex digits."""
    pixels: str
    """SHA-256 over size and pixels: the same for the same picture in whatever file."""


def verified(content: bytes) -> Picture:
    """The picture in a file's bytes, upright; UnusableImage where there is none that can be used."""
    if not content:
        raise UnusableImage("there is no image")
    if len(content) > MAX_BYTES:
        raise UnusableImage(f"more than {MAX_BYTES:,} bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                _check_header(image)
                return _picture(image, content)
    except _BOMB:
        raise UnusableImage(f"more than {MAX_PIXELS:,} pixels") from None
    except UnidentifiedImageError:
        raise UnusableImage(f"not an image of a format that is taken ({', '.join(FORMATS)})") from None
    except _BROKEN as error:
        raise UnusableImage(f"broken or truncated ({type(error).__name__})") from None


def _check_header(image: Image.Image) -> None:
    if image.format not in _OPENED_AS:
        raise UnusableImage(f"not an image of a format that is taken ({', '.join(FORMATS)})")
    if image.width * image.height > MAX_PIXELS:
        raise UnusableImage(f"{image.width} x {image.height} are more than {MAX_PIXELS:,} pixels")
    if min(image.size) < MIN_SIDE:
        raise UnusableImage(f"{image.width} x {image.height}: smaller than {MIN_SIDE} x {MIN_SIDE}")


def _picture(image: Image.Image, content: bytes) -> Picture:
    image.load()
    upright = _upright(image)
    plain = _plain(upright)
    suffix = _SUFFIXES.get(image.format or "")
    as_published = upright is image and image.mode in _KEPT_MODES and not _moves(image)
    kept = content if suffix and as_published else _png(plain)
    return Picture(
        content=kept,
        suffix=suffix if suffix and as_published else ".png",
        sha256=hashlib.sha256(kept).hexdigest(),
        pixels=_digest(plain),
    )


def _upright(image: Image.Image) -> Image.Image:
    """The same object where the file does not ask for a rotation."""
    if image.getexif().get(_ORIENTATION, 1) == 1:
        return image
    return ImageOps.exif_transpose(image)


def _moves(image: Image.Image) -> bool:
    return bool(getattr(image, "is_animated", False))


def _plain(image: Image.Image) -> Image.Image:
    """RGB, or RGBA where something shows through."""
    if image.mode.startswith("I"):
        # Sixteen bits of grey: Pillow would cut them off at 255 instead of scaling them.
        image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    shown = image if image.mode == "RGBA" else image.convert("RGBA")
    return shown.convert("RGB") if shown.getchannel("A").getextrema() == (255, 255) else shown


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _digest(image: Image.Image) -> str:
    digest = hashlib.sha256(f"{image.mode} {image.width}x{image.height}\n".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()
