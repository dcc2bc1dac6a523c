"""Rows as trainers take them: conversations with pictures, measured before training and opened while it runs.

Pictures stay paths until a batch needs them. A row that is too long or whose picture cannot be opened is
dropped before the first step and counted; nothing is ever cut.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from PIL import Image, UnidentifiedImageError

from align.records import Dropped, DropReason, Example, Pair
from align.stages.drops import check_share
from align.stages.progress import track
from align.train.errors import TrainingFailed
from align.training_tables import Training
from policies.prompt import student_messages

ROW_NUMBERS = "row_numbers"
"""Key of a batch: which of the training rows it holds."""
Collate = Callable[[list[dict[str, Any]]], dict[str, Any]]


class RowUnusable(TrainingFailed):
    """A row's picture cannot be opened, or the processor refuses it; the message names the row."""


def sft_rows(rows: Iterable[Example]) -> list[dict[str, Any]]:
    """TRL's prompt and completion; the prompt is what applications send for the same request."""
    return [
        {**_asked(row.id, row.instruction, row.image), "completion": _said(row.completion)} for row in rows
    ]


def preference_rows(pairs: Iterable[Pair]) -> list[dict[str, Any]]:
    """TRL's prompt, chosen and rejected."""
    return [
        {
            **_asked(pair.id, pair.instruction, pair.image),
            "chosen": _said(pair.chosen),
            "rejected": _said(pair.rejected),
        }
        for pair in pairs
    ]


def _asked(id_: str, instruction: str, image: str) -> dict[str, Any]:
    return {"id": id_, "prompt": student_messages(instruction, [{"type": "image"}]), "images": [image]}


def _said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


@dataclass(frozen=True, slots=True)
class Collator:
    """TRL's collator behind the opening of pictures; notes which rows a batch holds."""

    collate: Collate
    images_root: Path

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        opened = [self._opened(example) for example in examples]
        try:
            batch = self.collate(opened)
        except (
            ValueError,
            IndexError,
        ) as error:  # a picture of an odd shape, a text that spells image tokens
            named = ", ".join(example["id"] for example in examples)
            raise RowUnusable(f"row {named}: the processor cannot take it ({error})") from error
        batch[ROW_NUMBERS] = torch.tensor([example["number"] for example in examples])
        return batch

    def _opened(self, example: dict[str, Any]) -> dict[str, Any]:
        pictures = [_picture(self.images_root / image, example["id"]) for image in example["images"]]
        kept = {key: value for key, value in example.items() if key not in ("id", "number", "images")}
        return {**kept, "images": pictures}


def _picture(path: Path, row: str) -> Image.Image:
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError, SyntaxError) as error:
        raise RowUnusable(f"row {row}: {path} cannot be opened as a picture ({error})") from error


def fitting(
    rows: Sequence[dict[str, Any]], collator: Collator, stage: str, settings: Training
) -> tuple[list[dict[str, Any]], list[Dropped], int]:
    """Rows that can be trained on, numbered; those that cannot; and the most tokens of one that can.

    StageAborted where too many cannot.
    """
    kept: list[dict[str, Any]] = []
    dropped: list[Dropped] = []
    longest = 0
    for row in track(rows, f"{stage}: measuring rows", len(rows)):
        try:
            tokens = int(collator([{**row, "number": 0}])["input_ids"].shape[1])
        except RowUnusable as error:
            reason, detail = DropReason.IMAGE_UNREADABLE, str(error)
        else:
            if tokens <= settings.max_tokens:
                kept.append({**row, "number": len(kept)})
                longest = max(longest, tokens)
                continue
            reason, detail = (
                DropReason.TOO_LONG,
                f"{tokens} tokens, {stage}.max_tokens is {settings.max_tokens}",
            )
        dropped.append(Dropped(id=row["id"], stage=stage, reason=reason, detail=detail))
    check_share(stage, dropped, len(rows), settings.max_dropped_share, f"{stage}.max_dropped_share")
    if not kept:
        raise TrainingFailed(f"{stage}: there is no row to train on")
    return kept, dropped, longest


def as_dataset(rows: Sequence[dict[str, Any]]) -> Dataset:
    """Without its types given, a column of pictures' paths is text, and nothing is decoded early."""
    return Dataset.from_list(list(rows))
