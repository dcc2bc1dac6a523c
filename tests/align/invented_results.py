"""Results of evaluations that nobody ran, and their page as it is read."""

import base64
import io
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from align.evaluate.rates import wilson
from align.evaluate.report.page import page
from align.evaluate.results import (
    Faithfulness,
    Model,
    Rate,
    Results,
    Shown,
)
from tests.align.page_read import Page

SECTIONS = (
    "main", "differences", "failures", "baselines", "ablations", "categories", "faithful", "attention",
    "judges", "worst", "notes", "made",
)  # fmt: skip
FAILURES = "Replies that show each mode"
MAIN = "Harm, refusal and ability"
OTHERS = "Everything else that was measured"
NUMBERS = {"main", "differences", "failures", "baselines", "ablations", "categories", "faithful", "judges"}


def model(
    name: str,
    label: str = "",
    group: Literal["main", "baseline", "ablation"] = "main",
    rows: int | None = None,
) -> Model:
    return Model(name=name, served=f"{name}@0123456789ab", label=label or name, group=group, rows=rows)


def lost(source: str, low: float, high: float, steps: int = 90, model: str = "pst") -> Faithfulness:
    """What steps lose without the picture; a tenth of them loses next to nothing."""
    return Faithfulness(
        model=model, source=source, steps=steps, mean=(low + high) / 2, low=low, high=high,
        survives=wilson(steps / 10, steps), threshold=0.1,
    )  # fmt: skip


def rate(name: str, hits: int, n: int = 200, unscored: int = 0, **changes: Any) -> Rate:
    fields: dict[str, Any] = {
        "task": "mini_btv", "model": name, "measure": "harm.whole", "better": "lower", "n": n,
        "unscored": unscored, "rate": wilson(hits, n - unscored),
    }  # fmt: skip
    return Rate(**fields | changes)


def results(*rates: Rate, **changes: Any) -> Results:
    names = dict.fromkeys(one.model for one in rates)
    fields: dict[str, Any] = {
        "title": "Invented", "created": "2026-01-02T03:04:05Z", "recipe_digest": "abcdef0123456789" * 4,
        "models": tuple(map(model, names)), "rates": rates,
    }  # fmt: skip
    return Results(**fields | changes)


def shown(**changes: Any) -> Shown:
    fields: dict[str, Any] = {
        "task": "mini_btv", "model": "pst", "sample": "s1", "category": "P19", "instruction": "Say it.",
        "image": picture(), "reasoning": "A note.", "answer": "A reply.", "why": "complied",
    }  # fmt: skip
    return Shown(**fields | changes)


def picture() -> str:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "teal").save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def read(given: Results, attention: Path | None = None) -> Page:
    return Page(page(given, attention))


def lines(found: Page, section: str, table: str) -> dict[str, list[str]]:
    """Rows by their head, without the words for those who hear the page, which stand after an arrow."""
    rows = found.tables[section, table]
    return {row[0].partition(" ↓")[0].partition(" ↑")[0]: row[1:] for row in rows if row}


def attention_at(directory: Path) -> Path:
    directory.mkdir()
    for name in ("attention-by-layer", "attention-decay"):
        (directory / f"{name}.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    (directory / "attention.csv").write_text(
        "model,section,metric,over,at,value,low,high,n\n"
        "base,think,lift,layers,,0.173,0.167,0.178,60\n"
        "base,think,lift,layer,0,0.9,0.8,1.0,60\n"
    )
    return directory
