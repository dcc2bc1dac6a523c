"""An evaluation's directory: `results.json`, written whole or not at all, and the pages made of it."""

import os
from pathlib import Path

from pydantic import ValidationError

from align.errors import RecipeError
from align.evaluate.results import Results

RESULTS_FILE = "results.json"
PAGE_FILE = "report.html"
TABLES_FILE = "results.md"


def write_results(results: Results, out: Path) -> Path:
    """Results and pages; returns the place of the page with everything."""
    out.mkdir(parents=True, exist_ok=True)
    _put(out / RESULTS_FILE, results.model_dump_json(indent=2) + "\n")
    return render(out)


def render(out: Path) -> Path:
    """The pages of results that were written before; RecipeError where there are none."""
    from align.evaluate.report.markdown import markdown
    from align.evaluate.report.page import write_page

    results = read_results(out)
    _put(out / TABLES_FILE, markdown(results))
    return write_page(results, out / PAGE_FILE)


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


def _put(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
