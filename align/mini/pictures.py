"""The named pictures the lab's scenes are made of: two sheets, one per drawing style."""

from functools import cache
from pathlib import Path

from PIL import Image

from align.mini.things import THINGS

SHEETS = ("fluent", "noto")
"""Drawing styles, a sheet each."""
TILE = 96
"""Pixels on a side of one picture."""
COLUMNS = 8


def sheet_path(style: str) -> Path:
    return Path(__file__).parent / "pictures" / f"{style}.png"


@cache
def picture(style: str, name: str) -> Image.Image:
    """One thing's picture, RGBA, `TILE` pixels on a side, trimmed to what is drawn."""
    index = list(THINGS).index(name)
    left, top = index % COLUMNS * TILE, index // COLUMNS * TILE
    tile = _sheet(style).crop((left, top, left + TILE, top + TILE))
    return tile.crop(tile.getbbox())


@cache
def _sheet(style: str) -> Image.Image:
    with Image.open(sheet_path(style)) as image:
        return image.convert("RGBA")
