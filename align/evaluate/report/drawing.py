"""From a matplotlib figure to a drawing inside the page, in the page's own colours and letters.

Drawings are made with stand-in colours that become the style sheet's variables, so they follow light and
dark; words stay words. Nothing here knows what is drawn.
"""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from markupsafe import Markup

INK, QUIET, LINE, BAD = "#010101", "#020202", "#030303", "#040404"
SERIES = tuple(f"#0505{place:02d}" for place in range(1, 9))
MARKERS = "os^Dv*PX"
"""Shapes beside colours: not everybody sees these."""
_VARIABLES = {INK: "--ink", QUIET: "--quiet", LINE: "--line", BAD: "--bad"} | {
    colour: f"--series-{place}" for place, colour in enumerate(SERIES, 1)
}
_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_SETTINGS = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # names of models and categories are no formulas
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "axes.grid": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
}


@dataclass(frozen=True, slots=True)
class Drawn:
    """A drawing as the page holds it; `width` in pixels at which its words have the page's size."""

    title: str
    svg: Markup
    width: int
    note: str = ""


@contextmanager
def styled() -> Iterator[None]:
    """Everything of a figure, from its making to `drawn`, happens in here."""
    from matplotlib import rc_context

    with rc_context(_SETTINGS), warnings.catch_warnings():
        # The reader's browser has letters that matplotlib's own font lacks; it only measures with it.
        warnings.filterwarnings("ignore", r"(Glyph|Matplotlib currently does not support)", UserWarning)
        yield


def drawn(figure: Any, name: str, title: str, alternative: str, note: str = "") -> Drawn:
    """`name` keeps the drawing's ids apart from others'; equal figures give equal drawings."""
    from matplotlib import rc_context

    file = io.StringIO()
    with rc_context({"svg.hashsalt": name}):
        undated = {"Date": None, "Creator": None}
        figure.savefig(file, format="svg", transparent=True, metadata=undated, bbox_inches="tight")
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    root = ElementTree.fromstring(file.getvalue())
    width = round(float(root.attrib.pop("width").removesuffix("pt")) * 4 / 3)
    root.attrib.pop("height")
    _bare(root)
    for element in root.iter():
        _adopt(element, name)
    root.attrib |= {"role": "img", "aria-label": alternative, "class": "drawn"}
    # Escaped where it is made: ElementTree writes names as text and attributes, never as elements.
    return Drawn(title, Markup(ElementTree.tostring(root, encoding="unicode")), width, note)


def _bare(root: ElementTree.Element) -> None:
    """Without what describes the file, and without styles, which would be the whole page's."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                parent.remove(child)


def _adopt(element: ElementTree.Element, name: str) -> None:
    """Ids of its own; the page's colours and letters."""
    for key, value in element.attrib.items():
        if key == "id":
            value = f"{name}-{value}"
        elif key in ("href", f"{{{_XLINK}}}href"):
            value = value.replace("#", f"#{name}-", 1)
        elif key == "style":
            value = re.sub(r"font: (?:\w+ )?([\d.]+px)[^;]*", r"font-size: \1", value)
            value = re.sub(r"#0[1-5]0[1-5]0[1-8]", lambda found: f"var({_VARIABLES[found[0]]})", value)
        element.attrib[key] = value.replace("url(#", f"url(#{name}-")
