"""An evaluation's directory: `results.json`, written whole or not at all, and the page made of it."""

import os
from pathlib import Path

from pydantic import ValidationError

from align.errors import RecipeError
from align.evaluate.results import Results

RESULTS_FILE = "results.json"
PAGE_FILE = "report.html"


def write_results(results: Results, out: Path) -> Path:
    """Results and page; returns the page's place."""
    out.mkdir(parents=True, exist_ok=True)
    partial = out / f".{RESULTS_FILE}.partial"
    partial.write_text(results.model_dump_json(indent=2) + "\n", encoding="utf-8")
    os.replace(partial, out / RESULTS_FILE)
    return render(out)


def render(out: Path) -> Path:
    """The page of results that were written before; RecipeError where there are none."""
    from align.evaluate.report.page import write_page

    return write_page(read_results(out), out / PAGE_FILE)


def read_results(out: Path) -> Results:
    """What an evaluation wrote."""
    path = out / RESULTS_FILE
    try:
        return Results.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise RecipeError(f"{out} holds no {RESULTS_FILE}: run without --render first") from None
    except ValidationError as error:
        raise RecipeError(
            f"{path} is not of this release: run without --render ({error.error_count()} faults)"
        ) from None
