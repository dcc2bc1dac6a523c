"""Rows, pairs and settings for trainings on tiny bases: seconds on a CPU, and nothing that means anything."""

from pathlib import Path

from PIL import Image

from align.records import Pair, SftRow
from align.training_tables import Sft, Srpo
from policies.reply import Verdict

QWEN = "Qwen2_5_VLForConditionalGeneration"
COLOURS = ("teal", "maroon", "navy", "olive", "purple", "orange", "silver", "lime")
SFT = Sft(
    base="tiny",
    seed=3,
    rank=4,
    alpha=8,
    dropout=0.0,
    learning_rate=1e-3,
    epochs=1.0,
    batch_size=4,
    warmup_share=0.0,
    precision="float32",
    checkpoint_steps=2,
)
SRPO = Srpo(
    seed=3,
    learning_rate=1e-3,
    epochs=1.0,
    batch_size=4,
    warmup_share=0.0,
    precision="float32",
    checkpoint_steps=2,
)


def sft_rows(work: Path, count: int = 8) -> list[SftRow]:
    """Rows of different lengths, each with a picture of its own below `work`."""
    return [
        SftRow(
            id=f"row-{number}",
            instruction=f"What is shown in picture {number}?",
            image=picture(work, number),
            completion=f"The picture shows a {colour(number)} square" + " on a table" * (number % 3) + ".",
            category=None,
            severity=None,
            verdict=Verdict.COMPLY,
            source="tiny",
            licence="none",
        )
        for number in range(count)
    ]


def pairs(work: Path, count: int = 8) -> list[Pair]:
    """Pairs whose chosen reply names the colour."""
    return [
        Pair(
            id=f"pair-{number}",
            instruction=f"What is shown in picture {number}?",
            image=picture(work, number),
            chosen=f"The picture shows a {colour(number)} square.",
            rejected="I can't help with that" + ", but here is something safe" * (number % 2) + ".",
            kind="contrastive",
            chosen_by="teacher",
            rejected_by="miner",
            decided_by="utility",
            category=None,
            severity=None,
            source="tiny",
            licence="none",
        )
        for number in range(count)
    ]


def picture(work: Path, number: int) -> str:
    name = f"pictures/{number}.png"
    (work / "pictures").mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (56, 56), colour(number)).save(work / name)
    return name


def colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]
