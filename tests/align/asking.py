"""A desk at a scripted endpoint: the small recipe, with every role at one address.

    python -m tests.align.asking URL DIRECTORY COUNT

is a process that asks the teacher COUNT questions and prints a line for each reply, to be killed.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

from align.errors import StageAborted
from align.recipe import Recipe, load_recipe
from align.recipe_tables import Budget, Endpoint, Price
from align.stages.workspace import Workspace
from align.teacher.desk import Asker, Worker, open_desk
from align.teacher.reply import Reply, TeacherError
from policies.catalog import load_catalog
from policies.prompt import Message

SMALL = Path(__file__).with_name("small.toml")
STAGE = "trajectories"


def recipe_at(
    url: str,
    *,
    budget: Budget | None = None,
    prices: dict[str, Price] | None = None,
    teacher: dict[str, Any] | None = None,
    **pace: Any,
) -> Recipe:
    """The small recipe with all endpoints at one address; `teacher` changes that role."""
    base = load_recipe(SMALL)
    values = {"base_url": url, "concurrency": 4, "timeout_s": 5.0, "retries": 2} | pace
    endpoint = Endpoint.model_validate(values)
    role = base.roles.teacher.model_copy(update=teacher)
    return base.model_copy(
        update={
            "endpoints": dict.fromkeys(base.endpoints, endpoint),
            "roles": base.roles.model_copy(update={"teacher": role}),
            "budget": budget or Budget(),
            "prices": prices or {},
        }
    )


def workspace(recipe: Recipe, directory: Path) -> Workspace:
    return Workspace(recipe, load_catalog(), directory)


def question(number: int) -> list[Message]:
    return [{"role": "user", "content": f"question {number}"}]


async def ask_all(
    recipe: Recipe, directory: Path, count: int, *, at_once: int = 1_000_000, worker: Worker | None = None
) -> list[Reply | TeacherError]:
    """What a desk answers to questions 0, 1, …; all of them under way, or so many at once."""
    room = asyncio.Semaphore(at_once)

    async def one(asker: Asker, number: int) -> Reply | TeacherError:
        async with room:
            return await outcome(asker, number)

    async with open_desk(workspace(recipe, directory), stage=STAGE, worker=worker) as desk:
        asker = desk.role("teacher")
        return await asyncio.gather(*(one(asker, number) for number in range(count)))


async def outcome(asker: Asker, number: int) -> Reply | TeacherError:
    """The reply, or why there is none."""
    try:
        return await asker.ask(question(number), seed=number)
    except TeacherError as error:
        return error


async def _main(url: str, directory: str, count: str) -> None:
    recipe = recipe_at(url, concurrency=8)
    async with open_desk(workspace(recipe, Path(directory)), stage=STAGE) as desk:
        asker = desk.role("teacher")

        async def one(number: int) -> None:
            reply = await asker.ask(question(number), seed=number)
            sys.stdout.write(f"{number} {reply.text.splitlines()[-1]}\n")
            sys.stdout.flush()

        async with asyncio.TaskGroup() as group:
            for number in range(int(count)):
                group.create_task(one(number))


if __name__ == "__main__":
    try:
        asyncio.run(_main(*sys.argv[1:]))
    except* StageAborted as aborted:
        sys.exit(str(aborted.exceptions[0]))
