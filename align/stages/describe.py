"""Describe: what a picture shows, in words, for the models that see nothing (the paper's d = VLM(v)).

A description that is cut off or declined would mislead everything behind it, so it is dropped here.
"""

import re

from align.prompts import describer_messages
from align.records import Description, DropReason, Query
from align.stages import queries
from align.stages.asking import AskingStage, Drop, ask_all, reply_of, whole
from align.stages.pictures import image_part
from align.stages.workspace import Made, Workspace
from align.teacher.desk import Desk

STAGE = "describe"

EXCUSE = re.compile(
    r"^\W*(?:(?:i'?m|i am)\s+(?:really\s+|so\s+)?(?:sorry|unable|afraid|not able)"
    r"|i\s+(?:can\s?not|can'?t|won'?t|will not)\s|sorry\b|as an ai\b|unfortunately,? i\b)",
    re.IGNORECASE,
)
"""How a model begins that excuses itself."""


async def work(query: Query, desk: Desk, workspace: Workspace) -> Description:
    """One description."""
    describer = desk.role("describer")
    messages = describer_messages(image_part(query, workspace.directory))
    reply = whole(await reply_of(describer, messages, seed=workspace.recipe.seed))
    if EXCUSE.match(reply.text.replace("’", "'")):
        raise Drop(DropReason.DECLINED, reply.text[:200])
    return Description(query_id=query.id, text=reply.text.strip(), describer=describer.role.model)


DESCRIBE: AskingStage[Query, Description] = AskingStage(
    STAGE,
    items=lambda workspace: tuple(workspace.rows(queries.STAGE, Query)),
    work=work,
    roles=lambda _: ("describer",),
    max_failed_share=lambda recipe: recipe.describe.max_failed_share if recipe.describe else 0.0,
    together=lambda query: query.image_sha256,  # nothing else of the query is sent
)


def make(workspace: Workspace) -> Made:
    """Describe every query's picture."""
    finished = ask_all(DESCRIBE, workspace)
    return workspace.leave(STAGE, finished.rows, finished.dropped)


def descriptions(workspace: Workspace) -> dict[str, str] | None:
    """Texts by query; None where the recipe makes none because its models see."""
    if workspace.recipe.describe is None:
        return None
    return {row.query_id: row.text for row in workspace.rows(STAGE, Description)}
