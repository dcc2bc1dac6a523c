"""What the models are asked: the lab's situations, or rows that a run left. Knows nothing of models."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from PIL import Image, UnidentifiedImageError
from pydantic import ConfigDict

from align.errors import RecipeError
from align.mini.scenes import render
from align.mini.world import situations
from align.records import Example, read_rows


@dataclass(frozen=True, slots=True)
class Question:
    """A picture and an instruction, and a reply to them if there is one already."""

    id: str
    instruction: str
    picture: Callable[[], Image.Image]
    given: str | None = None


class _Given(Example):
    """An example of any stage: what else its row says is not needed here."""

    model_config = ConfigDict(extra="ignore")


def lab_questions(split: str, count: int) -> list[Question]:
    """The first `count` situations of a split."""
    return [
        Question(one.seed, one.instruction, partial(render, one.scene)) for one in situations(split, count)
    ]


def row_questions(path: Path, images: Path, count: int | None) -> list[Question]:
    """The first `count` rows of a file, or all; RecordError or RecipeError where they cannot be read."""
    return list(islice(_rows(path, images), count))


def _rows(path: Path, images: Path) -> Iterator[Question]:
    for row in read_rows(path, _Given):
        yield Question(row.id, row.instruction, partial(_opened, images / row.image, row.id), row.completion)


def _opened(path: Path, row: str) -> Image.Image:
    try:
        return Image.open(path).convert("RGB")
    except (OSError, UnidentifiedImageError) as error:
        raise RecipeError(
            f"{path}, the picture of {row}, cannot be read ({error}): is --images right?"
        ) from None
