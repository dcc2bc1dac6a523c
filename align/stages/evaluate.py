"""Evaluation as a stage: the served bundle is measured on fresh situations, and gets its report card."""

import asyncio

from align.manifest import file_digest
from align.recipe import RecipeError
from align.stages.bundle import bundle_directory
from align.stages.drops import StageAborted
from align.stages.workspace import Made, Workspace
from policies.bundle import read_bundle

STAGE = "evaluate"
REPLIES_FILE = "replies.jsonl"
CARD_FILE = "report_card.json"


def make(workspace: Workspace) -> Made:
    """Ask the gateway for every situation, count, and write the card into the bundle's manifest."""
    from openai import APIConnectionError, NotFoundError

    from align.evaluate.mini import TooManyUnscored, ask_all, report_card, write_replies
    from align.evaluate.rates import NothingScored
    from align.train.bundle import attach_report_card  # imports torch

    wanted, name = workspace.recipe.evaluate, workspace.recipe.bundle.name
    bundle = bundle_directory(workspace)
    try:
        replies = asyncio.run(
            ask_all(
                wanted.base_url,
                name,
                wanted.split,
                wanted.count,
                concurrency=wanted.concurrency,
                max_tokens=wanted.max_tokens,
            )
        )
    except (APIConnectionError, NotFoundError) as error:
        raise RecipeError(
            f"[evaluate] no gateway at {wanted.base_url} serves {name!r} ({error}): "
            f"start one with the bundle {bundle} and run again"
        ) from None
    folder = workspace.folder(STAGE)
    write_replies(folder / REPLIES_FILE, replies)
    try:
        card = report_card(replies)
    except (TooManyUnscored, NothingScored) as error:
        raise StageAborted(f"{STAGE}: {error}") from error
    (folder / CARD_FILE).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    attach_report_card(bundle, read_bundle(bundle), card)
    return Made(len(replies), result_digest=file_digest(folder / CARD_FILE))
