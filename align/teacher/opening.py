"""Opens the teacher that a recipe names: an endpoint somewhere, or the lab's oracle in this process."""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from align.mini.oracle import Oracle, serving
from align.mini.world import situations
from align.recipe import Endpoint, Recipe, RecipeError
from align.teacher.client import Sampling, Teacher


@asynccontextmanager
async def open_teacher(recipe: Recipe) -> AsyncIterator[Teacher]:
    """A teacher ready to be asked."""
    wanted = recipe.trajectories
    sampling = Sampling(wanted.model, wanted.temperature, wanted.max_tokens, recipe.seed)
    api_key = _api_key(wanted.endpoint)
    async with AsyncExitStack() as stack:
        base_url = wanted.endpoint.base_url
        if base_url is None:
            base_url = await stack.enter_async_context(serving(_oracle(recipe)))
        yield await stack.enter_async_context(Teacher(base_url, wanted.endpoint, sampling, api_key=api_key))


def _oracle(recipe: Recipe) -> Oracle:
    return Oracle(situations(recipe.queries.split, recipe.queries.count))


def check_key(recipe: Recipe) -> None:
    """RecipeError where the key that the recipe names is not there."""
    _api_key(recipe.trajectories.endpoint)


def _api_key(endpoint: Endpoint) -> str | None:
    if endpoint.api_key_env is None:
        return None
    if not (key := os.environ.get(endpoint.api_key_env)):
        raise RecipeError(
            f"the recipe takes the teacher's key from {endpoint.api_key_env}, which is not set: set it"
        )
    return key
