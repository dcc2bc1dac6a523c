"""Queries: what the recipe's sources hold, checked, each picture once as a file and each question once.

Whatever is not taken is left as a dropped row with its reason. Rows and pictures are the same bytes in
every attempt; pictures are named by their content and put in place whole, so a killed attempt leaves none
that is half written.
"""

import hashlib
import os
import sys
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from align.errors import RecipeError, StageAborted
from align.records import Dropped, DropReason, Query, write_rows
from align.sources import catalogue
from align.sources.about import MEANINGS
from align.sources.catalogue import Source
from align.sources.found import Found
from align.sources.images import Picture, UnusableImage, verified
from align.sources.mini import MiniTable
from align.stages.drops import counted
from align.stages.progress import track
from align.stages.workspace import DROPPED_FILE, ROWS_FILE, Made, Workspace
from policies.catalog import load_catalog

STAGE = "queries"
IMAGES = "images"


def check(workspace: Workspace) -> None:
    """RecipeError where a source may not or cannot be read, or a chosen policy does not exist."""
    unknown = [id_ for id_ in workspace.recipe.policies or () if workspace.catalog.policy(id_) is None]
    if unknown:
        known = ", ".join(policy.id for policy in workspace.catalog.policies)
        raise RecipeError(f"key 'policies': there is no policy {', '.join(unknown)}; of {known}")
    taken: set[str] = set()
    for table in workspace.recipe.sources:
        name = _name(table)
        if name in taken:
            raise RecipeError(
                f"two sources are called {name!r}: take one of them, or give files of your own another label"
            )
        taken.add(name)
        catalogue.check(table)


def make(workspace: Workspace) -> Made:
    """Read every source; StageAborted where no row at all is left."""
    folder = workspace.folder(STAGE)
    intake = _Intake(workspace)
    count = write_rows(folder / ROWS_FILE, intake.queries())
    write_rows(folder / DROPPED_FILE, intake.dropped)
    if not count:
        reasons = counted(intake.dropped).most_common()
        listed = ", ".join(f"{number} {reason}" for reason, number in reasons) or "the sources are empty"
        raise StageAborted(f"{STAGE}: no row is left ({listed}); {folder / DROPPED_FILE} has the details")
    return Made(count, counted(intake.dropped))


@dataclass(frozen=True, slots=True)
class _Kept:
    """What is remembered of a picture that was decoded once."""

    name: str
    sha256: str
    pixels: str


class _Intake:
    """One reading of all sources: what was seen so far decides what is a duplicate."""

    def __init__(self, workspace: Workspace) -> None:
        self.dropped: list[Dropped] = []
        self._workspace = workspace
        self._pictures: dict[bytes, _Kept | UnusableImage] = {}
        """By the SHA-256 of the file as published: many sets repeat theirs."""
        self._asked: dict[bytes, str] = {}
        """Ids by what makes two queries the same."""
        self._ids: set[str] = set()
        self._evaluated: frozenset[str] = frozenset()
        """Pixels that models are evaluated on."""
        self._policies = _Policies(workspace)

    def queries(self) -> Iterator[Query]:
        """The queries that are taken, as they come."""
        sources = self._workspace.recipe.sources
        for table in sources:
            _announce(table)
        self._evaluated = frozenset(pixels for table in sources for pixels in _evaluation_pixels(table))
        for table in sources:
            yield from track(self._of(table), _name(table), table.count)

    def _of(self, table: Source) -> Iterator[Query]:
        count = 0
        for found in catalogue.read(table):
            match self._query(table, found):
                case Dropped() as drop:
                    self.dropped.append(drop)
                case query:
                    yield query
                    count += 1
            if count == table.count:
                return

    def _query(self, table: Source, found: Found) -> Query | Dropped:
        id_ = _id(table, found)
        if id_ in self._ids:
            raise RecipeError(f"{_name(table)} gives the id {id_!r} twice: are these the published files?")
        self._ids.add(id_)
        instruction = _readable(found.instruction)
        if not instruction:
            return _drop(id_, DropReason.EMPTY_INSTRUCTION, "")
        category = self._policies.of(found.category)
        if isinstance(category, DropReason):
            return _drop(id_, category, str(found.category))
        picture = self._picture(found)
        if isinstance(picture, UnusableImage):
            return _drop(id_, DropReason.IMAGE_UNREADABLE, found.fault or str(picture))
        if picture.pixels in self._evaluated and not _is_benchmark(table):
            return _drop(id_, DropReason.EVALUATION_IMAGE, "")
        first = self._asked.setdefault(_sameness(instruction, picture), id_)
        if first != id_:
            return _drop(id_, DropReason.DUPLICATE, f"of {first}")
        self._place(picture, found.image)
        return Query(
            id=id_,
            source=catalogue.source_name(table),
            split=table.split,
            instruction=instruction,
            image=f"{STAGE}/{IMAGES}/{picture.name}",
            image_sha256=picture.sha256,
            category=category,
            severity=found.severity,
            benign=found.benign,
            licence=catalogue.about(table).licence,
            meta={name: _readable(text) for name, text in found.meta.items()},
        )

    def _picture(self, found: Found) -> _Kept | UnusableImage:
        """What is known of the picture; decoded at its first sight only."""
        published = hashlib.sha256(found.image).digest()
        if published not in self._pictures:
            try:
                self._pictures[published] = _kept(verified(found.image))
            except UnusableImage as error:
                self._pictures[published] = error
        return self._pictures[published]

    def _place(self, picture: _Kept, published: bytes) -> None:
        """Put the file there, once and whole."""
        path = self._workspace.folder(STAGE) / IMAGES / picture.name
        if path.exists():
            return
        as_published = hashlib.sha256(published).hexdigest() == picture.sha256
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        partial.write_bytes(published if as_published else verified(published).content)
        os.replace(partial, path)


class _Policies:
    """Which policy a source's category names in this run."""

    def __init__(self, workspace: Workspace) -> None:
        self._recipe = workspace.recipe
        self._catalog = workspace.catalog
        documents = (*load_catalog().documents, *workspace.catalog.documents)
        self._known = {name for document in documents for name in (document.id, document.slug)}

    def of(self, name: str | None) -> str | DropReason | None:
        """An id, None where a model is to say, or why the row is not taken."""
        if name is None:
            return None
        trusted = self._recipe.categorise.trust_source
        policy = self._catalog.policy(name)
        if policy is None and name not in self._known:
            return DropReason.UNKNOWN_CATEGORY
        if trusted and (policy is None or not self._recipe.takes(policy.id)):
            return DropReason.POLICY_NOT_CHOSEN
        return policy.id if policy else None


def _kept(picture: Picture) -> _Kept:
    return _Kept(f"{picture.sha256[:2]}/{picture.sha256}{picture.suffix}", picture.sha256, picture.pixels)


def _evaluation_pixels(table: Source) -> Iterator[str]:
    unreadable = 0
    for image in catalogue.evaluation_images(table):
        try:
            yield verified(image).pixels
        except UnusableImage:
            unreadable += 1
    if unreadable:
        _say(f"{_name(table)}: {unreadable} evaluation images cannot be read, so they cannot be looked for")


def _announce(table: Source) -> None:
    about = catalogue.about(table)
    meaning = f"; {MEANINGS[about.restricted]}" if about.restricted != "none" else ""
    _say(f"{_name(table)}: licence {about.licence}{meaning}")


def _say(text: str) -> None:
    sys.stderr.write(f"{STAGE}: {text}\n")


def _name(table: Source) -> str:
    return f"{catalogue.source_name(table)} {table.split}"


def _id(table: Source, found: Found) -> str:
    """The lab's keys name their split already."""
    name = catalogue.source_name(table)
    return f"{name}:{found.key}" if isinstance(table, MiniTable) else f"{name}:{table.split}:{found.key}"


def _is_benchmark(table: Source) -> bool:
    return table.split in catalogue.about(table).benchmark


def _sameness(instruction: str, picture: _Kept) -> bytes:
    """Equal for the same words about the same pixels, whatever the case and spacing."""
    words = " ".join(unicodedata.normalize("NFKC", instruction).casefold().split())
    return hashlib.sha256(f"{picture.pixels}\n{words}".encode()).digest()


def _readable(text: str) -> str:
    """Without the halves of characters that JSON can smuggle in and no file can hold."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").strip()


def _drop(id_: str, reason: DropReason, detail: str) -> Dropped:
    return Dropped(id=id_, stage=STAGE, reason=reason, detail=detail)
