"""Evaluation as a stage: the served bundle is measured on fresh situations, and gets its report card.

What is asked is a gateway: the stage's own, which observes, so that what is counted is what the model says;
or one that the recipe names, and then it is what that one's callers get.
"""

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from align.errors import RecipeError, StageAborted
from align.manifest import file_digest
from align.stages.base_model import MINI, base_directory, base_is_merged
from align.stages.bundle import STAGE as BUNDLES
from align.stages.bundle import bundle_directory
from align.stages.bundle import wanted as bundles
from align.stages.workspace import CARDS_FILE, Made, Workspace
from policies.bundle import ReportCard, read_bundle

STAGE = "evaluate"


def check(workspace: Workspace) -> None:
    """RecipeError, before any work, where this stage's own gateway could not serve the bundles."""
    recipe = workspace.recipe
    if recipe.evaluate.base_url is not None:
        return
    if find_spec("vllm") is None:
        raise RecipeError(
            "[evaluate] starts a gateway with its engine, and vllm cannot be imported here: "
            "run with --to bundle, or name a gateway in evaluate.base_url"
        )
    if base_is_merged(workspace):
        raise RecipeError(
            f"[sft] base = {recipe.sft.base!r} is served as merged weights, which this stage cannot serve: "
            "run with --to bundle, or name a gateway that does in evaluate.base_url"
        )


def make(workspace: Workspace) -> Made:
    """Measure the adapters, and the base model beside them; the cards go into the bundles' manifests."""
    from align.train.bundle import attach_report_card  # imports torch

    wanted = workspace.recipe.evaluate
    names = [bundle.name for bundle in bundles(workspace)]
    with _gateway(workspace) as base_url:
        models = [*([wanted.compare_with] if wanted.compare_with else []), *names]
        cards = {model: _measured(workspace, base_url, model) for model in models}
    _show(cards)
    path = workspace.folder(STAGE) / CARDS_FILE
    texts = {model: card.model_dump(mode="json") for model, card in cards.items()}
    path.write_text(json.dumps(texts, indent=2) + "\n", encoding="utf-8")
    for name in names:
        directory = bundle_directory(workspace, name)
        attach_report_card(directory, read_bundle(directory), cards[name])
    return Made(wanted.count, result_digest=file_digest(path))


@contextmanager
def _gateway(workspace: Workspace) -> Iterator[str]:
    """The API's root of the recipe's gateway, or of one that is started for this."""
    from align.evaluate.gateway import LAB_PROMPT, GatewayFailed, served

    wanted = workspace.recipe.evaluate
    if base_url := wanted.base_url:
        yield base_url
        return
    try:
        folder = workspace.folder(STAGE)
        directories = [bundle_directory(workspace, bundle.name) for bundle in bundles(workspace)]
        with served(
            base_directory(workspace),
            directories,
            folder,
            policies=workspace.recipe.policy_documents,
            max_model_len=LAB_PROMPT + wanted.max_tokens,
            reasoning_format=workspace.recipe.trajectories.reasoning_format,
        ) as gateway:
            yield gateway.api
    except GatewayFailed as error:
        raise StageAborted(f"{STAGE}: {error}") from error


def _measured(workspace: Workspace, base_url: str, model: str) -> ReportCard:
    from openai import APIConnectionError, NotFoundError

    from align.evaluate.mini import TooManyUnscored, ask_all, report_card, write_replies
    from align.evaluate.rates import NothingScored

    wanted = workspace.recipe.evaluate
    pace = {"concurrency": wanted.concurrency, "max_tokens": wanted.max_tokens}
    try:
        replies = asyncio.run(ask_all(base_url, model, wanted.split, wanted.count, **pace))
        write_replies(_replies_path(workspace, model), replies)
        return report_card(replies, own_words=workspace.recipe.sft.base != MINI)
    except (APIConnectionError, NotFoundError) as error:
        raise RecipeError(
            f"[evaluate] no gateway at {base_url} serves {model!r} ({error}): "
            f"start one with the bundles of {workspace.folder(BUNDLES)} and run again"
        ) from None
    except (TooManyUnscored, NothingScored) as error:
        raise StageAborted(f"{STAGE}: {model}: {error}") from error


def _replies_path(workspace: Workspace, model: str) -> Path:
    return workspace.folder(STAGE) / f"replies-{model}.jsonl"


def _show(cards: dict[str, ReportCard]) -> None:
    from rich.console import Console

    from align.evaluate.table import card_table

    Console(file=sys.stderr).print(card_table(cards))
