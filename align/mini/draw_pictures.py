"""Make the lab's picture sheets from two openly licensed icon sets; run once, the sheets are kept.

    npm pack @iconify-json/fluent-emoji@1.2.7 @iconify-json/noto@1.2.9   (unpack both beside each other)
    python -m align.mini.draw_pictures FLUENT_DIR NOTO_DIR

Needs resvg-py (dev group). Licences: align/mini/pictures/NOTICE.md.
"""

import io
import json
import sys
from pathlib import Path

import resvg_py
from PIL import Image

from align.mini.pictures import COLUMNS, SHEETS, TILE, sheet_path
from align.mini.things import THINGS


def draw_sheet(icons_json: Path) -> Image.Image:
    """All things of one drawing style, `COLUMNS` to a row, `TILE` pixels each, transparent."""
    icons = json.loads(icons_json.read_bytes())
    side = icons.get("width", icons.get("height", 128))
    rows = -(-len(THINGS) // COLUMNS)
    sheet = Image.new("RGBA", (COLUMNS * TILE, rows * TILE))
    for index, thing in enumerate(THINGS.values()):
        body = icons["icons"][thing.icon]["body"]
        svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side} {side}">{body}</svg>'
        png = resvg_py.svg_to_bytes(svg_string=svg, width=TILE, height=TILE, skip_system_fonts=True)
        sheet.paste(Image.open(io.BytesIO(png)), (index % COLUMNS * TILE, index // COLUMNS * TILE))
    return sheet


def main(directories: list[str]) -> int:
    for style, directory in zip(SHEETS, directories, strict=True):
        draw_sheet(Path(directory) / "icons.json").save(sheet_path(style), optimize=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
