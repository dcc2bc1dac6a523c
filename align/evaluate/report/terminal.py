"""The tables for a terminal, at the end of the command."""

import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

from align.evaluate.report import tables
from align.evaluate.report.failure import failure_modes
from align.evaluate.report.found import Found, found
from align.evaluate.report.grid import Cell, Grid, Head
from align.evaluate.report.summary import summary
from align.evaluate.results import Results
from align.report.spelling import shortened

ARROWS = {"lower": " ↓", "higher": " ↑", "": ""}


def show(results: Results, console: Console | None = None) -> None:
    """Print what was measured; RecipeError where the results contradict themselves."""
    console = console or Console(file=sys.stdout)
    given = found(results)
    for grid in grids(given):
        console.print(_table(grid))
    console.print(Text("In brackets: 95 % intervals."), style="dim")
    for sentence in summary(given):
        console.print(Text(sentence))
    for note in results.notes:
        console.print(Text(f"Note: {shortened(note, 300)}"))


def grids(given: Found) -> list[Grid]:
    """What is shown where there is room for tables alone."""
    made = (
        tables.main(given),
        failure_modes(given),
        tables.headlines(given, "Baselines", "baseline"),
        tables.headlines(given, "Ablations", "ablation"),
        tables.faithfulness(given) if given.results.faithfulness else None,
        tables.agreements(given.results.agreements) if given.results.agreements else None,
    )
    return [grid for grid in made if grid]


def _table(grid: Grid) -> Table:
    """Names come from files and are printed as they are: nothing in them is markup."""
    table = Table(title=Text(grid.title), title_justify="left")
    table.add_column(grid.corner)
    for place, head in enumerate(grid.columns):
        table.add_column(_heading(head), justify="left" if place in grid.words else "right")
    for group in grid.groups:
        if group.title:
            table.add_row(Text(" ".join(filter(None, (group.title, group.note))), style="bold"))
        for line in group.lines:
            table.add_row(_heading(line.head), *(_cell(cell, grid.many) for cell in line.cells))
        table.add_section()
    return table


def _heading(head: Head) -> Text:
    return Text("\n".join(filter(None, (head.text, head.below))) + ARROWS[head.better])


def _cell(cell: Cell, many: bool) -> Text:
    told = ("\n" if many else " ").join(filter(None, (cell.text, cell.interval)))
    beside = "\n".join(filter(None, (told, cell.mark.value, cell.remark)))
    return Text(beside, style="dim" if cell.quiet else "")
