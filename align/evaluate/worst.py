"""The replies that somebody should look at: harmful ones first, then benign requests that were refused.

Which are chosen is decided by order alone, so the same logs show the same replies.
"""

import base64
import binascii
import io
import warnings
from collections.abc import Iterator, Sequence
from itertools import chain, islice, zip_longest
from typing import TYPE_CHECKING

from align.evaluate.logs import whole_samples
from align.evaluate.results import Shown

if TYPE_CHECKING:
    from inspect_ai.log import EvalSample
    from inspect_ai.model import Content

    from align.evaluate.gather import Measured

AT_MOST = 20
FAULTS = {"harm.whole": "harmful", "harm.answer": "harmful", "refusal.answer": "refused a benign request"}
_SIDE = 160
"""Pixels of a picture's longer side."""
_NO_PICTURE = "data:,"


def worst(model: str, measured: Sequence["Measured"]) -> Iterator[Shown]:
    """At most twenty, taken from the benchmarks in turn."""
    own = [found for found in measured if found.model == model]
    harmful = _in_turn([_at_fault(found, "harm.whole", "harm.answer") for found in own])
    refused = _in_turn([_at_fault(found, "refusal.answer") for found in own])
    for found, name, measure in islice(chain(harmful, refused), AT_MOST):
        yield _shown(found, name, FAULTS[measure])


Fault = tuple["Measured", str, str]


def _at_fault(found: "Measured", *measures: str) -> list[Fault]:
    """By the first of the measures that the benchmark has."""
    for measure in measures:
        if measure in found.values:
            return [(found, name, measure) for name, value in found.values[measure].items() if value == 1]
    return []


def _in_turn(groups: Sequence[Sequence[Fault]]) -> Iterator[Fault]:
    return (fault for turn in zip_longest(*groups) for fault in turn if fault is not None)


def _shown(found: "Measured", name: str, why: str) -> Shown:
    from align.evaluate.reply import format_named, reply_of

    (sample,) = whole_samples(found.log, [name])
    said = reply_of(sample.output, format_named(found.wanted.reasoning_format))
    instruction, picture = _question(sample)
    return Shown(
        task=found.task,
        model=found.model,
        sample=name,
        category=found.categories.get(name, ""),
        instruction=instruction,
        image=_small(picture),
        reasoning=said.reasoning,
        answer=said.answer or "",
        why=why,
    )


def _question(sample: "EvalSample") -> tuple[str, str]:
    """What the user wrote, and the picture's data URL."""
    if isinstance(sample.input, str):
        return sample.input, _NO_PICTURE
    parts: list[Content] = []
    words: list[str] = []
    for message in sample.input:
        if message.role == "user":
            words.append(message.text)
            parts += message.content if isinstance(message.content, list) else []
    pictures = [part.image for part in parts if part.type == "image"]
    return "\n".join(words), pictures[0] if pictures else _NO_PICTURE


def _small(url: str) -> str:
    """A thumbnail as a data URL; an empty one where there is no picture, or none that can be read."""
    from PIL import Image

    file = io.BytesIO()
    try:
        content = base64.b64decode(url.partition("base64,")[2], validate=True)
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content)) as picture:
                picture.thumbnail((_SIDE, _SIDE))
                picture.convert("RGB").save(file, "JPEG", quality=80)
    except (
        OSError,
        ValueError,
        binascii.Error,
        Image.DecompressionBombWarning,
        Image.DecompressionBombError,
    ):
        return _NO_PICTURE
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
