"""The worst replies as the page shows them: words shortened, and a picture only where it is one."""

import re
from dataclasses import dataclass

from align.evaluate.report.found import Found
from align.evaluate.results import Shown

MOST = 20
LONGEST_PICTURE = 400_000
"""Characters of a data URL: twenty of them still make a page that a phone opens."""
_PICTURE = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/]+={0,2}")


@dataclass(frozen=True, slots=True)
class Poor:
    """One reply."""

    shown: Shown
    model: str
    picture: str
    """A data URL of pixels; empty where there is none."""
    missing: str
    """Why there is none."""


def worst(found: Found) -> tuple[Poor, ...]:
    """In the order of the results, MOST of them."""
    return tuple(_poor(found, one) for one in found.results.worst[:MOST])


def _poor(found: Found, one: Shown) -> Poor:
    missing = _missing(one.image)
    return Poor(one, found.label(one.model), "" if missing else one.image, missing)


def _missing(image: str) -> str:
    """What keeps it from being shown: an address would be asked, and a drawing may hold addresses."""
    if not image:
        return "no picture was kept"
    if len(image) > LONGEST_PICTURE:
        return "the picture is too large for this page"
    return "" if _PICTURE.fullmatch(image) else "the picture is not shown: it is no data URL of pixels"
