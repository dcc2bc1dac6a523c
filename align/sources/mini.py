"""The lab's world as a source: situations of a split become queries and PNG files.

Nothing of the truth goes into a query but the policy it is near to: what a categoriser would say.
"""

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

from align.mini.scenes import Scene, render
from align.mini.world import Situation, situations
from align.records import Query

NAME = "mini"
LICENCE = "MIT and Apache-2.0 (pictures: align/mini/pictures/NOTICE.md)"


def read_queries(split: str, count: int, folder: Path) -> Iterator[Query]:
    """The queries of a split; their pictures are written below `folder`, a folder of the run directory."""
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    for situation in situations(split, count):
        content = png(situation.scene)
        name = f"{situation.seed.replace(':', '-')}.png"
        (images / name).write_bytes(content)
        yield _query(situation, split, f"{folder.name}/images/{name}", hashlib.sha256(content).hexdigest())


def png(scene: Scene) -> bytes:
    """The scene's picture as a file; the same bytes for the same scene."""
    file = io.BytesIO()
    render(scene).save(file, "PNG")
    return file.getvalue()


def _query(situation: Situation, split: str, image: str, image_sha256: str) -> Query:
    return Query(
        id=f"{NAME}:{situation.seed}",
        source=NAME,
        split=split,
        instruction=situation.instruction,
        image=image,
        image_sha256=image_sha256,
        category=situation.truth.policy or situation.truth.look_alike,
        licence=LICENCE,
        meta={"seed": situation.seed},
    )
