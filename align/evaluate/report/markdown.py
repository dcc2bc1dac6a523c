"""The tables in Markdown, for a page that is kept beside the code, such as `docs/results.md`."""

from align.evaluate.report import tables
from align.evaluate.report.found import found
from align.evaluate.report.grid import Cell, Grid, Head
from align.evaluate.report.summary import summary
from align.evaluate.report.terminal import ARROWS, grids
from align.evaluate.results import Results

_ESCAPED = str.maketrans({"|": "\\|", "<": "&lt;", "\n": " "})


def markdown(results: Results) -> str:
    """Every table that the terminal shows and the rest of what was measured, what it comes to, and the notes.

    Ends with a newline. RecipeError where the results contradict themselves.
    """
    given = found(results)
    parts = [_listed(summary(given))]
    parts += [_table(grid) for grid in (*grids(given), tables.others(given)) if grid]
    if results.notes:
        parts.append(f"<details><summary>Notes</summary>\n\n{_listed(results.notes)}\n</details>\n")
    return "\n".join(parts)


def _table(grid: Grid) -> str:
    rows = [_row([grid.corner, *map(_heading, grid.columns)])]
    rows.append(
        _row(["---", *(":--" if place in grid.words else "--:" for place, _ in enumerate(grid.columns))])
    )
    for group in grid.groups:
        if group.title:
            told = f"**{group.title}** {group.note}".strip()
            rows.append(_row([told, *("" for _ in grid.columns)]))
        rows += [_row([_heading(line.head), *map(_cell, line.cells)]) for line in group.lines]
    note = f"\n{grid.note}\n" if grid.note else ""
    return f"### {grid.title}\n\n" + "\n".join(rows) + "\n" + note


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.translate(_ESCAPED) for cell in cells) + " |"


def _heading(head: Head) -> str:
    return " ".join(filter(None, (head.text, head.below))) + ARROWS[head.better]


def _cell(cell: Cell) -> str:
    return " ".join(filter(None, (cell.text, cell.interval, cell.mark.value, cell.remark)))


def _listed(sentences: tuple[str, ...] | list[str]) -> str:
    return "".join(f"- {sentence.translate(_ESCAPED)}\n" for sentence in sentences)
