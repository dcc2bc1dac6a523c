"""Scenes: one to three things on a background, sometimes a sign; what is in them is known exactly.

A scene is a value drawn from a seed; `render` turns it into pixels, and nothing else decides how it looks.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from align.mini.pictures import SHEETS, picture
from align.mini.things import SIGNS, THINGS

SIZE = 112
"""Pixels on a side of a scene."""
SIGN_HEIGHT = 24

Rgb = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Placed:
    """A thing in the picture: its drawing style, centre and longest side in pixels, tilt in degrees."""

    name: str
    style: str
    x: int
    y: int
    size: int
    tilt: int
    mirrored: bool


@dataclass(frozen=True, slots=True)
class Background:
    pattern: str
    colours: tuple[Rgb, Rgb]


@dataclass(frozen=True, slots=True)
class Sign:
    word: str
    top: bool
    left: int
    width: int


@dataclass(frozen=True, slots=True)
class Scene:
    """`things[0]` is the subject, the one that "this" means: by far the largest."""

    things: tuple[Placed, ...]
    background: Background
    sign: Sign | None
    noise_seed: int

    @property
    def subject(self) -> str:
        return self.things[0].name

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(thing.name for thing in self.things)


def draw_scene(
    rng: random.Random,
    subject: str | None = None,
    sign: str | None = None,
    things: Sequence[str] = tuple(THINGS),
) -> Scene:
    """Draw a scene of some of `things`; the subject is free or given, and `sign` a word (`None`: no sign)."""
    placed_sign = _draw_sign(rng, sign) if sign else None
    names = [subject or rng.choice(things)]
    others = rng.choices((0, 1, 2), weights=(5, 3, 2))[0]
    names += rng.sample([name for name in things if name != names[0]], others)
    placed = [_place_subject(rng, names[0], placed_sign)]
    for name in names[1:]:
        if (thing := _place_beside(rng, name, placed, placed_sign)) is not None:
            placed.append(thing)
    return Scene(tuple(placed), _draw_background(rng), placed_sign, rng.randrange(1 << 30))


def _draw_sign(rng: random.Random, word: str) -> Sign:
    width = rng.randint(68, 96)
    return Sign(word, rng.random() < 0.5, rng.randint(2, SIZE - width - 2), width)


def _free_rows(sign: Sign | None) -> tuple[int, int]:
    """First and last pixel row that the sign leaves free."""
    if sign is None:
        return 0, SIZE
    return (SIGN_HEIGHT + 2, SIZE) if sign.top else (0, SIZE - SIGN_HEIGHT - 2)


def _place_subject(rng: random.Random, name: str, sign: Sign | None) -> Placed:
    top, bottom = _free_rows(sign)
    size = rng.randint(58, min(84, bottom - top - 2))
    half = size // 2
    x, y = rng.randint(half, SIZE - half), rng.randint(top + half, bottom - half)
    return Placed(name, rng.choice(SHEETS), x, y, size, rng.randint(-18, 18), rng.random() < 0.5)


def _place_beside(rng: random.Random, name: str, placed: list[Placed], sign: Sign | None) -> Placed | None:
    """A smaller thing that hides nothing; `None` where no room was found."""
    top, bottom = _free_rows(sign)
    for _ in range(40):
        size = rng.randint(30, 40)
        half = size // 2
        x, y = rng.randint(half, SIZE - half), rng.randint(top + half, bottom - half)
        if all(_apart(x, y, half, other) for other in placed):
            return Placed(name, rng.choice(SHEETS), x, y, size, rng.randint(-18, 18), rng.random() < 0.5)
    return None


def _apart(x: int, y: int, half: int, other: Placed) -> bool:
    """Whether two things' squares overlap by little: pictures seldom fill their corners."""
    reach = half + other.size // 2 - 8
    return abs(x - other.x) >= reach or abs(y - other.y) >= reach


def _draw_background(rng: random.Random) -> Background:
    def pale() -> Rgb:
        return rng.randint(140, 255), rng.randint(140, 255), rng.randint(140, 255)

    return Background(rng.choice(("plain", "gradient", "stripes", "checks")), (pale(), pale()))


def render(scene: Scene) -> Image.Image:
    """The picture, RGB, SIZE x SIZE."""
    return render_with_cover(scene)[0]


def render_with_cover(scene: Scene) -> tuple[Image.Image, np.ndarray]:
    """The picture, and who covers each pixel: 0 nothing, 1.. `scene.things`, -1 the sign (SIZE x SIZE)."""
    canvas = _paint_background(scene)
    cover = np.zeros((SIZE, SIZE), dtype=np.int8)
    for index, thing in reversed(list(enumerate(scene.things, start=1))):
        sprite = _sprite(thing)
        corner = (thing.x - sprite.width // 2, thing.y - sprite.height // 2)
        canvas.paste(sprite, corner, sprite)
        mask = Image.new("L", (SIZE, SIZE))
        mask.paste(sprite.getchannel("A"), corner)
        cover[np.asarray(mask) > 128] = index
    if scene.sign is not None:
        _paint_sign(canvas, cover, scene.sign)
    return canvas, cover


def _sprite(thing: Placed) -> Image.Image:
    source = picture(thing.style, thing.name)
    scale = thing.size / max(source.size)
    size = (max(1, round(source.width * scale)), max(1, round(source.height * scale)))
    sprite = source.resize(size, Image.Resampling.BILINEAR)
    if thing.mirrored:
        sprite = sprite.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return sprite.rotate(thing.tilt, resample=Image.Resampling.BILINEAR, expand=True)


def _paint_background(scene: Scene) -> Image.Image:
    first, second = (np.array(colour, dtype=np.float32) for colour in scene.background.colours)
    rows, columns = np.mgrid[0:SIZE, 0:SIZE]
    shares = {
        "plain": np.zeros((SIZE, SIZE)),
        "gradient": (rows + columns) / (2 * SIZE),
        "stripes": (columns // 14 % 2) * 0.5,
        "checks": ((rows // 16 + columns // 16) % 2) * 0.5,
    }
    share = shares[scene.background.pattern][..., None]
    noise = np.random.default_rng(scene.noise_seed).normal(0, 4, (SIZE, SIZE, 1))
    return Image.fromarray(np.clip(first * (1 - share) + second * share + noise, 0, 255).astype(np.uint8))


def _paint_sign(canvas: Image.Image, cover: np.ndarray, sign: Sign) -> None:
    top = 1 if sign.top else SIZE - SIGN_HEIGHT - 1
    box = (sign.left, top, sign.left + sign.width, top + SIGN_HEIGHT - 1)
    pen = ImageDraw.Draw(canvas)
    pen.rectangle(box, fill=(255, 255, 240), outline=(60, 40, 20), width=2)
    middle = ((box[0] + box[2]) // 2, (box[1] + box[3]) // 2)
    pen.text(middle, sign.word, fill=(20, 20, 20), font=_font(), anchor="mm")
    cover[box[1] : box[3] + 1, box[0] : box[2] + 1] = -1


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(16)


def random_sign(rng: random.Random, share: float) -> str | None:
    """A sign's word for `share` of the scenes."""
    return rng.choice(SIGNS) if rng.random() < share else None
