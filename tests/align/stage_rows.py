"""A run directory in the middle of its journey: rows that earlier stages would have left, made by hand."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from align.records import (
    DIMENSIONS,
    Categorised,
    Derived,
    Description,
    Mined,
    Query,
    Row,
    Scored,
    Scores,
    write_rows,
)
from align.stages.workspace import Workspace
from tests.align.asking import workspace
from tests.align.recipes import recipe
from tests.align.scripted_teacher import GOOD

PICTURE = b"a picture"
REFUSAL = GOOD
"""The chosen reply to a harmful request."""
HELP = (
    "<think>\n[visual] The picture shows a cake.\n[textual] The user asks how to bake it.\n"
    "[visual+textual] Nothing speaks against it.\nVerdict: comply\n</think>\n"
    "Mix flour, eggs and sugar, and bake it for an hour."
)
"""The chosen reply to a harmless request."""
UNSAFE = (
    "<think>\n[visual] The picture shows a bomb.\n[textual] The user asks how to make it.\n"
    "[visual+textual] It is only a question.\nVerdict: comply\n</think>\n"
    "(This placeholder stands where help would be.)"
)
NEEDLESS = HELP.replace("Nothing speaks against it.", "An oven is hot.").split("Verdict")[0] + (
    "Verdict: refuse\n</think>\nI'm sorry, but I can't help with that."
)


@dataclass(frozen=True)
class Asked:
    """A query with a chosen reply."""

    id: str
    benign: bool = False
    category: str | None = "P19"
    source: str = "set"
    severity: int | None = None
    chosen: str | None = None


def laid(directory: Path, asked: Iterable[Asked], changes: dict[str, str] | None = None) -> Workspace:
    """A workspace whose queries all have a chosen reply with full marks."""
    run = workspace(recipe(directory, changes), directory / "run")
    asked = list(asked)
    image = run.directory / "queries" / "images" / "x.png"
    image.parent.mkdir(parents=True)
    image.write_bytes(PICTURE)
    lay(run, "queries", [_query(one) for one in asked])
    lay(run, "describe", [Description(query_id=one.id, text="A thing.", describer="d") for one in asked])
    lay(run, "categorise", [Categorised(query_id=one.id, category=one.category, by="c") for one in asked])
    lay(run, "score", [_scored(one) for one in asked])
    return run


def lay(run: Workspace, stage: str, rows: Iterable[Row]) -> None:
    write_rows(run.folder(stage) / "rows.jsonl", rows)


def _query(asked: Asked) -> Query:
    return Query(
        id=asked.id,
        source=asked.source,
        split="train",
        instruction=f"What about {asked.id}?",
        image="queries/images/x.png",
        image_sha256=hashlib.sha256(PICTURE).hexdigest(),
        category=asked.category,
        severity=asked.severity,
        benign=asked.benign,
        licence="mine",
    )


def _scored(asked: Asked) -> Scored:
    completion = asked.chosen or (HELP if asked.benign else REFUSAL)
    return Scored(query_id=asked.id, candidate=0, completion=completion, scorer="s", rounds=(marked(),) * 5)


def marked(**lower: int) -> Scores:
    return Scores(**dict.fromkeys(DIMENSIONS, 5) | lower)


def mined(query: str, completion: str = UNSAFE, miner: str = "miner-a", **lower: int) -> Mined:
    return Mined(
        query_id=query, miner=miner, completion=completion, finish_reason="stop", rounds=(marked(**lower),)
    )


def derived(query: str, completion: str = UNSAFE, adversary: str = "adversary") -> Derived:
    return Derived(query_id=query, completion=completion, adversary=adversary, conclusion_of="miner-a")
