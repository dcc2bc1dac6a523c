"""The changelog that ends a policy document: one entry per version, newest first."""

import re
from datetime import date
from itertools import pairwise

from policies.document import CatalogError, Release

VERSION = r"[0-9]+\.[0-9]+\.[0-9]+"

_ENTRY = re.compile(rf"({VERSION}), ([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}): (\S.*)")


def version_key(version: str) -> tuple[int, ...]:
    """A semantic version in an order that compares."""
    return tuple(int(part) for part in version.split("."))


def read_changelog(content: str, version: str) -> tuple[Release, ...]:
    """The entries under the heading, for a document of this version; CatalogError if any is off."""
    preamble, *entries = re.split(r"^- ", content, flags=re.MULTILINE)
    if preamble.strip():
        raise CatalogError(
            f"changelog: write {preamble.strip()[:40]!r} as an entry `- version, YYYY-MM-DD: what changed`"
        )
    releases = tuple(_release(" ".join(entry.split())) for entry in entries)
    if not releases or releases[0].version != version:
        raise CatalogError(
            f"changelog: begin with an entry `- {version}, YYYY-MM-DD: …` for the version in the header"
        )
    for newer, older in pairwise(releases):
        if version_key(newer.version) <= version_key(older.version) or newer.date < older.date:
            raise CatalogError(f"changelog: put {newer.version} and {older.version} in order, newest first")
    return releases


def _release(entry: str) -> Release:
    found = _ENTRY.fullmatch(entry)
    if not found:
        raise CatalogError(
            f"changelog: write the entry {entry[:40]!r} as `- version, YYYY-MM-DD: what changed`"
        )
    try:
        date.fromisoformat(found[2])
    except ValueError as error:
        raise CatalogError(f"changelog: correct the date {found[2]} ({error})") from None
    return Release(found[1], found[2], found[3])
