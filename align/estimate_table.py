"""The estimate of `--dry-run` as a table on standard output."""

import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from align.estimate import Load
from align.recipe import Recipe


def show_estimate(loads: Sequence[Load], recipe: Recipe) -> None:
    """Expected and at most, role by role, and both in sum; what has no price is said to have none."""
    table = Table(title="What the run would ask", caption=_caption(loads, recipe), caption_justify="left")
    for heading in ("stage", "role", "model"):
        table.add_column(heading)
    for heading in ("calls", "at most", "prompt", "completion", recipe.budget.currency, "at most"):
        table.add_column(heading, justify="right")
    for load in loads:
        table.add_row(
            load.stage, load.role.partition(":")[0], load.model, f"{load.calls:,}", f"{load.most_calls:,}",
            f"{load.prompt:,}", f"{load.completion:,}", _money(load.money), _money(load.most_money),
        )  # fmt: skip
    table.add_section()
    calls, most_calls = sum(load.calls for load in loads), sum(load.most_calls for load in loads)
    money, most_money = _sum(load.money for load in loads), _sum(load.most_money for load in loads)
    numbers = (f"{calls:,}", f"{most_calls:,}", "", "", _money(money), _money(most_money))
    table.add_row("in all", "", "", *numbers)
    Console(file=sys.stdout).print(table)


def _caption(loads: Sequence[Load], recipe: Recipe) -> str:
    expected = sum(load.calls * (load.prompt + load.completion) for load in loads)
    most = sum(load.most_calls * (load.prompt + load.most_completion) for load in loads)
    lines = [
        f"{expected / 1e6:,.1f} M tokens expected, {most / 1e6:,.1f} M at most; prompt and completion are "
        "tokens of one call.",
        "Expected shares are those of [expect] in the recipe. Nothing was asked.",
    ]
    if unpriced := sorted({load.model for load in loads if load.money is None}):
        lines.append(f'No price is known for {", ".join(unpriced)}: add [prices."MODEL"] to the recipe.')
    budget = recipe.budget
    if budget.money is not None or budget.tokens is not None:
        limits = [f"{budget.money:,.2f} {budget.currency}"] if budget.money is not None else []
        limits += [f"{budget.tokens:,} tokens"] if budget.tokens is not None else []
        lines.append(f"The budget stops the run at {' or '.join(limits)}.")
    return "\n".join(lines)


def _money(amount: float | None) -> str:
    return "no price" if amount is None else f"{amount:,.2f}"


def _sum(amounts: Iterable[float | None]) -> float | None:
    """None where any part is unknown: a sum without it would look like the whole."""
    listed = list(amounts)
    known = [amount for amount in listed if amount is not None]
    return sum(known) if len(known) == len(listed) else None
