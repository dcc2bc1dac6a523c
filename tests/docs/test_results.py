"""`docs/results.md` shows the numbers of the results that are kept beside it, and no others."""

from pathlib import Path

from align.evaluate.report.markdown import markdown
from align.evaluate.results import Results

DOCS = Path("docs")
BEGIN, END = "<!-- tables of results.json -->\n", "<!-- end of tables -->\n"


def test_the_page_of_results_holds_the_tables_of_the_kept_results() -> None:
    results = Results.model_validate_json((DOCS / "results.json").read_bytes())
    page = (DOCS / "results.md").read_text(encoding="utf-8")
    assert page.count(BEGIN) == page.count(END) == 1
    assert page.partition(BEGIN)[2].partition(END)[0] == markdown(results)
