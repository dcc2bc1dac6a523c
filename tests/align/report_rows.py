"""Rows and stages of runs that were never made, for the report to tell of."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from align.manifest import Origin, StageManifest, begin, write_manifest
from align.records import (
    DIMENSIONS,
    Dropped,
    DropReason,
    Pair,
    Query,
    Row,
    Scored,
    Scores,
    SftRow,
    Trajectory,
    Usage,
    write_rows,
)
from align.report.page import write_report
from policies.catalog import load_catalog
from tests.align.page_read import Page

PACKAGED = load_catalog().digest


def page_of(directory: Path) -> Page:
    return Page(write_report(directory).read_text(encoding="utf-8"))


def leave(
    directory: Path,
    stage: str,
    rows: Iterable[Row] = (),
    dropped: Iterable[Dropped] = (),
    *,
    complete: bool = True,
    policies: str = PACKAGED,
) -> None:
    """What a stage leaves in its folder."""
    rows, dropped = list(rows), list(dropped)
    folder = directory / stage
    origin = Origin(stage=stage, recipe_digest="1" * 64, inputs={"policies": policies})
    begin(folder, origin)
    write_rows(folder / "rows.jsonl", rows)
    write_rows(folder / "dropped.jsonl", dropped)
    reasons = [str(row.reason) for row in dropped]
    if complete:
        manifest = StageManifest(
            format_version=1, origin=origin, seed=1, rows=len(rows), result_digest="2" * 64,
            dropped={reason: reasons.count(reason) for reason in reasons}, versions={"python": "3.11.9"},
            seconds=61.0,
        )  # fmt: skip
        write_manifest(folder, manifest)


def query(number: int, **changes: Any) -> Query:
    fields: dict[str, Any] = {
        "id": f"q{number}", "source": "garden", "split": "train", "instruction": f"What is plant {number}?",
        "image": "queries/plant.png", "image_sha256": "0" * 64, "category": "P19", "licence": "MIT",
    }  # fmt: skip
    return Query(**fields | changes)


def trajectory(number: int, candidate: int = 0, completion: str = "A fern.", **changes: Any) -> Trajectory:
    fields: dict[str, Any] = {"usage": Usage(prompt_tokens=9, completion_tokens=40), "finish_reason": "stop"}
    return Trajectory(
        query_id=f"q{number}", candidate=candidate, completion=completion, teacher="t", **fields | changes
    )


def marks(**low: int) -> Scores:
    return Scores(**dict.fromkeys(DIMENSIONS, 5) | low)


def scored(number: int, *rounds: Scores) -> Scored:
    return Scored(query_id=f"q{number}", candidate=0, completion="A fern.", scorer="s", rounds=rounds)


def sft_row(number: int, **changes: Any) -> SftRow:
    fields: dict[str, Any] = {
        "id": f"q{number}", "instruction": "What?", "image": "queries/plant.png", "completion": "A fern.",
        "category": "P19", "severity": None, "verdict": "refuse", "source": "garden", "licence": "MIT",
    }  # fmt: skip
    return SftRow(**fields | changes)


def pair(number: int, chosen: str = "A fern.", rejected: str = "A rose.", **changes: Any) -> Pair:
    fields: dict[str, Any] = {
        "id": f"q{number} contrastive m", "instruction": f"What is plant {number}?",
        "image": "queries/plant.png", "kind": "contrastive", "chosen_by": "t", "rejected_by": "m",
        "decided_by": "safety", "category": None, "severity": None, "source": "garden", "licence": "MIT",
    }  # fmt: skip
    return Pair(chosen=chosen, rejected=rejected, **fields | changes)


def dropped(id_: str, stage: str, reason: DropReason, detail: str = "why") -> Dropped:
    return Dropped(id=id_, stage=stage, reason=reason, detail=detail)


def asked(directory: Path, stage: str, money: float | None, **counts: int) -> None:
    names = (
        "calls", "hits", "retries", "rejected", "unavailable", "estimated", "prompt_tokens",
        "completion_tokens",
    )  # fmt: skip
    role = dict.fromkeys(names, 0) | counts | {"money": money}
    told = role | {"currency": "USD", "by_role": {"teacher": role}, "seconds": 1.0}
    (directory / stage).mkdir(parents=True, exist_ok=True)
    (directory / stage / "calls.json").write_text(json.dumps(told))
