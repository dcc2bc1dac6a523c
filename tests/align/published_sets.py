"""Tiny copies of data sets in exactly the form in which they are published; all in them is invented."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image
from pyarrow import parquet

from align.sources.beavertails_v import CATEGORIES
from align.sources.mm_safetybench import SCENARIOS
from align.sources.mmsafetyaware import PROMPT

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""How the Hub's `datasets` library writes images."""
QUESTIONS = (
    ("question", pa.string()),
    ("image", IMAGE),
    ("category", pa.string()),
    ("image_severity", pa.int64()),
)
PAIRS = pa.schema(
    [
        *QUESTIONS,
        ("response_1", pa.string()),
        ("response_2", pa.string()),
        ("response_1_from", pa.string()),
        ("response_2_from", pa.string()),
        ("more_helpful_response_id", pa.string()),
        ("is_response_1_safe", pa.string()),
        ("is_response_2_safe", pa.string()),
        ("safer_response_id", pa.string()),
        ("response_1_harmless_rate", pa.int64()),
        ("response_2_harmless_rate", pa.int64()),
        ("response_1_helpful_rate", pa.int64()),
        ("response_2_helpful_rate", pa.int64()),
    ]
)
SINGLE = pa.schema([*QUESTIONS, ("response", pa.string()), ("is_response_safe", pa.string())])
MM_SAFETYBENCH = pa.schema([("id", pa.string()), ("question", pa.string()), ("image", IMAGE)])
CLASSES = ("class1", pa.string()), ("class2", pa.string()), ("class3", pa.string())
SPA_TRAIN = pa.schema(
    [
        ("image", IMAGE),
        ("question", pa.string()),
        ("chosen", pa.string()),
        ("rejected", pa.string()),
        ("image_name", pa.string()),
    ]
)
SPA_TEST = pa.schema([("image", IMAGE), ("question", pa.string()), *CLASSES])


def picture(number: int, format_: str = "PNG", size: tuple[int, int] = (16, 12), **how: Any) -> bytes:
    """A picture of its own for every number; the same pixels in every format that loses nothing."""
    image = Image.new("RGB", size, (number % 256, number // 256 % 256, 90))
    image.putpixel((0, 0), (255, 255, 255))
    file = io.BytesIO()
    image.save(file, format_, **how)
    return file.getvalue()


def published(content: bytes | None, name: str = "image.png") -> dict[str, Any]:
    """A cell of a column of images."""
    return {"bytes": content, "path": name}


def write_parquet(path: Path, schema: pa.Schema, rows: Sequence[dict[str, Any]]) -> None:
    """Rows of a schema; what a row does not say is null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_pylist([*rows], schema=schema), path)


def question(number: int, category: str, **other: Any) -> dict[str, Any]:
    """A row of BeaverTails-V, in either form."""
    row = {
        "question": f"What is shown in picture {number}?",
        "image": published(picture(number)),
        "category": category.replace("_", " ").title(),
        "image_severity": number % 3 + 1,
        "response": "A picture.",
        "is_response_safe": "yes",
    }
    return row | other


def beavertails(
    root: Path,
    *,
    train: dict[str, list[dict[str, Any]]] | None = None,
    evaluation: dict[str, list[dict[str, Any]]] | None = None,
    schema: pa.Schema = PAIRS,
) -> Path:
    """The twenty categories, two training rows and one evaluation row each unless said otherwise."""
    names = set(schema.names)
    for place, category in enumerate(CATEGORIES):
        rows = [question(10 * place + number, category) for number in range(2)]
        rows = (train or {}).get(category, rows)
        held_out = (evaluation or {}).get(category, [question(1000 + place, category)])
        for split, content in (("train", rows), ("evaluation", held_out)):
            kept = [{name: value for name, value in row.items() if name in names} for row in content]
            write_parquet(root / "data" / category / f"{split}.parquet", schema, kept)
    return root


def mm_safetybench(root: Path, kinds: Sequence[str] = ("SD", "SD_TYPO", "TYPO")) -> Path:
    """Two questions for each scenario and kind."""
    for place, scenario in enumerate(SCENARIOS):
        for kind in kinds:
            rows = [
                {
                    "id": str(number),
                    "question": f"{kind} question {number} of {scenario}?",
                    "image": published(picture(10 * place + number)),
                }
                for number in range(2)
            ]
            write_parquet(root / "data" / scenario / f"{kind}.parquet", MM_SAFETYBENCH, rows)
    return root


def spa_vl(root: Path) -> Path:
    """Two rows in each training shard, one of the first shard over a picture of the harm split."""
    for shard in range(8):
        rows = [
            {
                "image": published(picture(20 * shard + number)),
                "question": f"Question {number} of shard {shard}?",
                "chosen": "One reply.",
                "rejected": "Another reply.",
                "image_name": f"{shard}-{number}",
            }
            for number in range(2)
        ]
        write_parquet(root / "data" / f"train-{shard:05}-of-00008.parquet", SPA_TRAIN, rows)
    classes = {"class1": "Domain", "class2": "Category", "class3": "Subcategory"}
    for split, first in (("harm", 0), ("help", 2000)):
        rows = [{"image": published(picture(first)), "question": f"A {split} question?"} | classes]
        write_parquet(root / "test" / f"{split}-00000-of-00001.parquet", SPA_TEST, rows)
    validation = pa.schema([*SPA_TRAIN, *CLASSES]).remove(4)
    rows = [{"image": published(picture(3000)), "question": "A validation question?"} | classes]
    write_parquet(root / "validation" / "validation-00000-of-00001.parquet", validation, rows)
    return root


def siuo(root: Path, **other: Any) -> Path:
    """Two entries; the second one's picture is missing."""
    entries = [
        {
            "question_id": 1000 + number,
            "image": f"S-0{number}.png",
            "question": f"What goes with this, number {number}?",
            "category": "self-harm" if number == 1 else "morality",
            "safety_warning": "An invented warning.",
            "reference_answer": "An invented answer.",
        }
        | other
        for number in (1, 2)
    ]
    (root / "images").mkdir(parents=True)
    (root / "siuo_gen.json").write_text(json.dumps(entries))
    (root / "images" / "S-01.png").write_bytes(picture(1))
    return root


def mmsafetyaware(root: Path, numbers: Sequence[int] = (1, 128, 129, 2001)) -> Path:
    """Blocks as published, with pictures in two folders."""
    data = root / "data"
    (data / "images").mkdir(parents=True)
    (data / "images2").mkdir()
    blocks = [f'{number}\n{PROMPT}\n"Sentence {number} is quoted"\n\n\n' for number in numbers]
    (data / "prompt.txt").write_text("".join(blocks))
    for number in numbers:
        folder, suffix = ("images2", "jpeg") if number > 2000 else ("images", "png")
        (data / folder / f"{number}.{suffix}").write_bytes(picture(number, suffix.upper()))
    return root


def vlguard_entries() -> list[dict[str, Any]]:
    """An unsafe picture and a safe one."""
    return [
        {
            "id": "Ads_1",
            "image": "bad_ads/one.png",
            "safe": False,
            "harmful_category": "privacy",
            "harmful_subcategory": "personal data",
            "instr-resp": [{"instruction": "Use what is shown.", "response": "I will not."}],
        },
        {
            "id": "Ads_2",
            "image": "bad_ads/two.png",
            "safe": True,
            "instr-resp": [
                {"safe_instruction": "Which colour is it?", "response": "Blue."},
                {"unsafe_instruction": "Who is that?", "response": "I will not say."},
            ],
        },
    ]


def vlguard(root: Path) -> Path:
    """Both splits with their pictures unpacked; no picture is in both."""
    for split, first in (("train", 1), ("test", 11)):
        folder = root / split / "bad_ads"
        folder.mkdir(parents=True)
        (root / f"{split}.json").write_text(json.dumps(vlguard_entries()))
        (folder / "one.png").write_bytes(picture(first))
        (folder / "two.png").write_bytes(picture(first + 1))
    return root
