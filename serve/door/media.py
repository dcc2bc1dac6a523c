"""Pictures on their way in: taken apart and drawn anew here, so the engine only sees what we wrote.

The header is checked before anything is decoded; EXIF orientation is applied; animation, metadata and
whatever hid behind the pixels is left behind. Everything here blocks; `serve.door.pictures` has threads.
"""

import base64
import binascii
import io
import re
import struct
import zlib
from dataclasses import dataclass

from PIL import Image, ImageOps, UnidentifiedImageError

from serve.errors import InvalidImage
from serve.options.door import LimitSettings

_DATA_URL = re.compile(r"data:[^;,]*(?:;[^;,]*)*;base64,", re.IGNORECASE)
_FORMATS = ("PNG", "JPEG", "WEBP")
# Phones save JPEGs with a second picture inside; Pillow gives those a format of their own.
_OPENED_AS = frozenset({*_FORMATS, "MPO"})
_TYPES = "PNG, JPEG and WebP"
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
PNG_URL = "data:image/png;base64,"
"""How every picture begins that the engine is given."""
_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)


@dataclass(frozen=True, slots=True)
class PictureLimits:
    """What one picture may be."""

    image_bytes: int
    image_pixels: int

    @classmethod
    def of(cls, limits: LimitSettings) -> "PictureLimits":
        """Those of the settings."""
        return cls(limits.image_bytes, limits.image_pixels)


def normalise(url: str, limits: PictureLimits, where: str) -> str:
    """A fresh PNG of the same picture, as a data: URL; `where` is for messages."""
    return redraw(decode_data_url(url, limits, where), limits, where)


def decode_data_url(url: str, limits: PictureLimits, where: str) -> bytes:
    """The bytes that a data: URL holds. Raises InvalidImage."""
    if not is_data_url(url):
        raise InvalidImage(
            f"{where}: send the picture itself as a data: URL; this gateway fetches no other "
            "(its operator may allow hosts by images.allowed_hosts)",
            param=where,
        )
    header = _DATA_URL.match(url[:256])
    if header is None:
        raise InvalidImage(f"{where}: the data: URL must read data:<type>;base64,<data>", param=where)
    encoded = url[header.end() :]
    if len(encoded) // 4 * 3 - encoded[-2:].count("=") > limits.image_bytes:
        raise InvalidImage(f"{where} is larger than {limits.image_bytes} bytes", param=where)
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidImage(f"{where}: the data: URL does not hold valid base64", param=where) from error


def is_data_url(url: str) -> bool:
    """Whether the URL itself is the picture."""
    return url[:5].lower() == "data:"


def redraw(data: bytes, limits: PictureLimits, where: str) -> str:
    """The picture in those bytes as a data: URL of a fresh PNG. Raises InvalidImage."""
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            _check_header(image, limits, where)
            image.load()
            fresh = _as_rgb(ImageOps.exif_transpose(image))
    except _BOMB as error:
        raise _too_many_pixels(limits, where) from error
    except UnidentifiedImageError as error:
        raise _unsupported(where) from error
    except _BROKEN as error:
        raise InvalidImage(f"{where} is broken or truncated: it cannot be decoded", param=where) from error
    encoded = io.BytesIO()
    fresh.save(encoded, "PNG", compress_level=1)
    return PNG_URL + base64.b64encode(encoded.getbuffer()).decode()


def _check_header(image: Image.Image, limits: PictureLimits, where: str) -> None:
    if image.format not in _OPENED_AS:
        raise _unsupported(where)
    if image.width * image.height > limits.image_pixels:
        raise _too_many_pixels(limits, where)
    if image.format != "MPO" and getattr(image, "is_animated", False):
        raise InvalidImage(f"{where} is animated: send one frame", param=where)


def _unsupported(where: str) -> InvalidImage:
    return InvalidImage(f"{where} is not a picture of a supported type: send {_TYPES}", param=where)


def _too_many_pixels(limits: PictureLimits, where: str) -> InvalidImage:
    return InvalidImage(f"{where} has more than {limits.image_pixels} pixels: send it smaller", param=where)


def _as_rgb(image: Image.Image) -> Image.Image:
    """Without transparency: on white, as the engine would do."""
    if image.mode == "RGB":
        return image
    if not image.has_transparency_data:
        return image.convert("RGB")
    with_alpha = image.convert("RGBA")
    canvas = Image.new("RGB", image.size, "white")
    canvas.paste(with_alpha, mask=with_alpha.getchannel("A"))
    return canvas
