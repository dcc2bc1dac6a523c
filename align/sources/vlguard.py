"""VLGuard: unsafe pictures with a request, and safe pictures with a harmless and a harmful request each.

The two requests over one picture are what over-refusal is learnt and probed with.
"""

import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from align.errors import RecipeError
from align.sources.about import About, PublishedTable
from align.sources.found import Found
from align.sources.hub import located
from align.sources.images import MAX_BYTES
from align.sources.listed import entries, inside
from align.sources.picture_file import NOT_HAD, content_of

SUBCATEGORIES: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("risky behavior", "violence"): "violence_and_physical_harm",
        ("risky behavior", "sexually explicit"): "pornographic_content",
        ("discrimination", "race"): "discriminatory_depictions",
        ("discrimination", "sex"): "discriminatory_depictions",
        ("discrimination", "other"): "discriminatory_depictions",
        ("privacy", "personal data"): "privacy_invasion_and_surveillance",
        ("deception", "disinformation"): "false_information",
    }
)
"""Those of its subcategories that one policy plainly decides."""
REQUESTS: Mapping[str, bool] = MappingProxyType(
    {"instruction": False, "safe_instruction": True, "unsafe_instruction": False}
)
"""Keys of an entry's requests, and whether each is harmless."""

# All that a single damaged, encrypted or oddly packed member raises; the others can still be read.
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    RuntimeError,
    ValueError,
)

ABOUT = About(
    table="vlguard",
    title="VLGuard",
    repository="ys-zong/VLGuard",
    revision="b0be37a1ab7accb14e10d6a0ec3ce62cfaff2d46",
    licence="research use only",
    restricted="gated",
    training=("train",),
    benchmark=("test",),
    size="2,000 training images (2,977 requests), 1,000 test images (1,558 requests)",
    files="train.json and test.json, train.zip and test.zip or the folders train/ and test/",
    purpose="harmless and harmful requests over the same pictures, so that over-refusal can fall",
)


class VlGuardTable(PublishedTable):
    """`name = "vlguard"` in a recipe."""

    name: Literal["vlguard"]
    split: Literal["train", "test"]

    @property
    def about(self) -> About:
        """The set."""
        return ABOUT

    def files(self) -> tuple[str, ...]:
        """The list and the pictures."""
        return (f"{self.split}.json", f"{self.split}.zip")


def read(table: VlGuardTable) -> Iterator[Found]:
    """Every request, entry by entry."""
    root = located(table)
    listed = root / f"{table.split}.json"
    if (folder := root / table.split).is_dir():
        yield from _requests(listed, lambda name: content_of(inside(folder, name)))
        return
    archive = root / f"{table.split}.zip"
    try:
        with zipfile.ZipFile(archive) as pictures:
            yield from _requests(listed, lambda name: _in_archive(pictures, f"{table.split}/{name}", name))
    except (zipfile.BadZipFile, OSError) as error:
        raise RecipeError(f"{archive}: cannot be read as a ZIP archive ({error})") from None


def _requests(path: Path, picture: Callable[[str], bytes]) -> Iterator[Found]:
    for number, entry in entries(path, ("id", "image", "safe", "instr-resp")):
        image = picture(entry["image"])
        for key, instruction in _instructions(entry):
            yield Found(
                key=f"{number}/{key}",
                instruction=instruction,
                image=image,
                category=SUBCATEGORIES.get(_subcategory(entry)),
                benign=REQUESTS[key],
                meta={"id": str(entry["id"]), "subcategory": " / ".join(_subcategory(entry)).strip(" /")},
                fault="" if image else f"{entry['image']} {NOT_HAD}",
            )


def _instructions(entry: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for request in entry["instr-resp"]:
        yield from ((key, request[key]) for key in REQUESTS if key in request)


def _subcategory(entry: dict[str, Any]) -> tuple[str, str]:
    """Unsafe pictures have one; what is harmful about a request over a safe one is not published."""
    return entry.get("harmful_category", ""), entry.get("harmful_subcategory", "")


def _in_archive(pictures: zipfile.ZipFile, *names: str) -> bytes:
    """The first member of these names, empty where it cannot be had; nothing is unpacked to disk."""
    for name in names:
        try:
            member = pictures.getinfo(name)
        except KeyError:
            continue
        try:
            return pictures.read(member) if member.file_size <= MAX_BYTES else b""
        except _DAMAGED:
            return b""
    return b""
