"""Opens what a stage asks models with: endpoints, the run's store, its budget; one `Asker` for each role.

The public face of the engine: stages open a desk, take their roles from it and ask.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

from align.errors import RecipeError
from align.recipe import Recipe
from align.recipe_tables import Endpoint
from align.records import Query
from align.stages.workspace import Workspace
from align.teacher.asker import Asker, Books, Line
from align.teacher.client import Client
from align.teacher.ledger import BudgetExhausted, Ledger
from align.teacher.pace import Pace
from align.teacher.reply import Reply
from align.teacher.store import open_store
from align.teacher.store_file import StoreFailed
from align.teacher.tally import Counts, StageCalls, Tally, together
from align.teacher.worker import Worker


class Desk:
    """The roles of a recipe, ready to be asked."""

    def __init__(self, recipe: Recipe, lines: dict[str, Line], books: Books) -> None:
        self._recipe = recipe
        self._lines = lines
        self._books = books
        self._roles = recipe.roles.named()
        self._askers: dict[str, Asker] = {}
        self.tally = Tally(recipe.budget.currency, lambda: books.ledger.spent)

    def role(self, name: str) -> Asker:
        """A name of `recipe.roles.named()`: `teacher`, `miner:MODEL`; RecipeError where there is none."""
        if name not in self._askers:
            if (role := self._roles.get(name)) is None:
                raise RecipeError(
                    f"the recipe has no roles.{name}: add it; there is {', '.join(self._roles)}"
                )
            counts = self.tally.by_role[name] = Counts(0.0 if role.model in self._recipe.prices else None)
            self._askers[name] = Asker(name, role, self._lines[role.endpoint], self._books, counts)
        return self._askers[name]

    async def finish(self) -> None:
        """Wait for what is under way, where the stage was ended before it; StoreFailed where that is lost."""
        if under_way := self._books.under_way:
            sys.stderr.write(
                f"waiting for {len(under_way)} calls that are under way and paid for; "
                "interrupt to leave them\n"
            )
            ended, _ = await asyncio.wait(under_way)
            for error in (task.exception() for task in ended if not task.cancelled()):
                if isinstance(error, StoreFailed):  # replies that nobody waits for are lost all the same
                    raise error


@asynccontextmanager
async def open_desk(workspace: Workspace, *, stage: str, worker: Worker | None = None) -> AsyncIterator[Desk]:
    """A desk for one stage; RecipeError for whatever would make every call fail."""
    recipe, worker = workspace.recipe, worker or Worker()
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_store(workspace.directory, stage, worker))
        if worker.of == 1:
            ledger = Ledger(recipe.budget, recipe.prices, store.spending())
        else:
            before, own = store.spending_of_others(), store.spending()
            ledger = Ledger(recipe.budget, recipe.prices, before, own, worker.of)
        lines = {
            name: await _line(stack, name, endpoint, workspace, worker) for name, endpoint in _used(recipe)
        }
        desk = Desk(recipe, lines, Books(store, ledger))
        stack.push_async_callback(desk.finish)
        yield desk


async def _line(
    stack: AsyncExitStack, name: str, endpoint: Endpoint, workspace: Workspace, worker: Worker
) -> Line:
    base_url = endpoint.base_url
    if base_url is None:
        # The lab's; it draws pictures.
        from align.mini.oracle import Oracle, serving

        oracle = Oracle.of_queries(workspace.rows("queries", Query))
        base_url = await stack.enter_async_context(serving(oracle))
    client = Client(base_url, timeout_s=endpoint.timeout_s, api_key=_api_key(name, endpoint))
    pace = Pace(
        worker.share(endpoint.concurrency),
        worker.rate(endpoint.requests_per_minute),
        worker.rate(endpoint.tokens_per_minute),
        clock=asyncio.get_running_loop(),
    )
    return Line(await stack.enter_async_context(client), pace, endpoint.retries)


def check_keys(recipe: Recipe) -> None:
    """RecipeError where a key that the recipe names is not there."""
    for name, endpoint in _used(recipe):
        _api_key(name, endpoint)


def _used(recipe: Recipe) -> Iterable[tuple[str, Endpoint]]:
    names = dict.fromkeys(role.endpoint for role in recipe.roles.named().values())
    return [(name, recipe.endpoints[name]) for name in names]


def _api_key(name: str, endpoint: Endpoint) -> str | None:
    if endpoint.api_key_env is None:
        return None
    key = os.environ.get(endpoint.api_key_env, "").strip()
    if not key or not key.isascii() or not key.isprintable():
        raise RecipeError(
            f"endpoints.{name} takes its key from {endpoint.api_key_env}, which is not set or no key: set it"
        )
    return key


__all__ = [
    "Asker",
    "BudgetExhausted",
    "Desk",
    "Reply",
    "StageCalls",
    "Tally",
    "Worker",
    "check_keys",
    "open_desk",
    "together",
]
