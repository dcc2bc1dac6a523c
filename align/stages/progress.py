"""Progress on standard error for whatever takes long; nothing where nobody looks."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")


class Advance(Protocol):
    """Called once for every row that is done."""

    def __call__(self) -> None: ...


@contextmanager
def progress(
    label: str, total: int | None, status: Callable[[], str] | None = None, completed: int = 0
) -> Iterator[Advance]:
    """A bar with rows and the time that is left; `status` is shown behind it, as it is at each row.

    Where nobody knows how many rows there are, it tells those that are done and the time that they took.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn() if total is None else TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[status]}", style="dim"),
    )
    first = os.environ.get("RANK", "0") == "0"  # of processes that train together, one tells
    with Progress(*columns, console=Console(stderr=True), disable=not first) as bar:
        task = bar.add_task(label, total=total, completed=completed, status="")

        def advance() -> None:
            bar.update(task, advance=1, status=status() if status else "")

        yield advance
        if total is None:
            bar.update(task, total=bar.tasks[task].completed)


def track(items: Iterable[T], label: str, total: int | None) -> Iterator[T]:
    """The items, with a bar beside them."""
    with progress(label, total) as advance:
        for item in items:
            yield item
            advance()
