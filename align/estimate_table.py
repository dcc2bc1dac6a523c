"""The estimate of `--dry-run` as a table on standard output."""

import sys
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console
from rich.table import Table

from align.estimate import Load
from align.recipe import Recipe

WIDEST = 500
"""Columns, where no terminal sets a limit: a file or a pipe gets every name and number on one line."""


def show_estimate(loads: Sequence[Load], recipe: Recipe) -> None:
    """Expected and high, role by role, and both in sum; what has no price is said to have none."""
    # No markup: models and tables of a recipe may have brackets in their names.
    width = None if sys.stdout.isatty() else WIDEST
    console = Console(file=sys.stdout, width=width, markup=False, highlight=False)
    console.print(_table(loads, recipe.budget.currency))
    for line in _remarks(loads, recipe):
        console.print(line, soft_wrap=True)


def _table(loads: Sequence[Load], currency: str) -> Table:
    table = Table(title="What the run would ask")
    for heading in ("stage", "role", "model"):
        table.add_column(heading, overflow="fold")
    for heading in ("kept", "calls", "at most", "prompt", "long", "completion", currency, "high"):
        table.add_column(heading, justify="right", overflow="fold")
    for load in loads:
        table.add_row(
            load.stage, load.role.partition(":")[0], load.model, f"{load.kept:,}", f"{load.calls:,}",
            f"{load.most_calls:,}", f"{load.prompt:,}", f"{load.long_prompt:,}", f"{load.completion:,}",
            _money(load.money), _money(load.high_money),
        )  # fmt: skip
    table.add_section()
    kept, calls = sum(load.kept for load in loads), sum(load.calls for load in loads)
    most_calls = sum(load.most_calls for load in loads)
    money, high_money = _sum(load.money for load in loads), _sum(load.high_money for load in loads)
    numbers = (f"{kept:,}", f"{calls:,}", f"{most_calls:,}", "", "", "", _money(money), _money(high_money))
    table.add_row("in all", "", "", *numbers)
    return table


def _remarks(loads: Sequence[Load], recipe: Recipe) -> Iterator[str]:
    expected = sum(load.calls * (load.prompt + load.completion) for load in loads)
    high = sum(load.most_calls * (load.long_prompt + load.most_completion) for load in loads)
    yield (
        f"{_tokens(expected)} tokens expected, {_tokens(high)} high; prompt, long and completion are tokens "
        "of one call."
    )
    yield (
        "High is every call that there may be, with the long prompt (every policy, full replies) and a reply "
        "of max_tokens. Only [budget] is a limit: prompts are estimated, and failed attempts may be charged."
    )
    yield (
        "Rows are those of stages that are complete, and beyond them shares are those of [expect] in the "
        "recipe. Nothing was asked."
    )
    if any(load.kept for load in loads):
        yield "Kept replies are there already: calls, tokens and money are what is left without them."
    if any(load.kept and load.calls == 0 < load.most_calls for load in loads):
        yield "Where 0 calls are left, [expect] foresaw no more than is kept: only the most is known."
    if any(load.again for load in loads):
        yield (
            "A stage that is made again may cost less: replies that are there are free wherever the same is "
            "asked, and are taken off only where that is certain."
        )
    if unpriced := sorted({load.model for load in loads if load.money is None}):
        yield f'No price is known for {", ".join(unpriced)}: add [prices."MODEL"] to the recipe.'
    budget = recipe.budget
    if budget.money is not None or budget.tokens is not None:
        limits = [f"{budget.money:,.2f} {budget.currency}"] if budget.money is not None else []
        limits += [f"{budget.tokens:,} tokens"] if budget.tokens is not None else []
        yield f"The budget stops the run at {' or '.join(limits)}."


def _money(amount: float | None) -> str:
    if amount is None:
        return "no price"
    return "under 0.01" if 0 < amount < 0.01 else f"{amount:,.2f}"


def _tokens(count: int) -> str:
    return f"{count / 1e6:,.1f} M" if count >= 1e6 else f"{count:,}"


def _sum(amounts: Iterable[float | None]) -> float | None:
    """None where any part is unknown: a sum without it would look like the whole."""
    listed = list(amounts)
    known = [amount for amount in listed if amount is not None]
    return sum(known) if len(known) == len(listed) else None
